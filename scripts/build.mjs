// Bundles the CLI into dist/: one entry, and a chunk for whatever a verb loads only when it runs.
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

const root = join(import.meta.dirname, "..");
const dist = join(root, "dist");
const scratch = join(dist, `.new-${process.pid}`);
const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));

// Made before the sources are read: a source that changes meanwhile is newer than the mark.
await mkdir(scratch, { recursive: true });
await writeFile(join(scratch, ".built"), `${version}\n`);
try {
  await build({
    absWorkingDir: root,
    entryPoints: { cli: "src/cli/main.ts" },
    outdir: scratch,
    bundle: true,
    splitting: true,
    platform: "node",
    // ES modules where a package has both: named exports of CommonJS are lost in dynamic imports.
    mainFields: ["module", "main"],
    target: "node20",
    format: "esm",
    outExtension: { ".js": ".mjs" },
    chunkNames: "chunk-[hash]",
    // CommonJS packages inside the bundle call require() for node's own modules.
    banner: {
      js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);',
    },
    define: { KUBEDOS_VERSION: JSON.stringify(version) },
    sourcemap: "linked",
    sourcesContent: false,
    legalComments: "none",
    logLevel: "warning",
  });
  // Another kubedos may run from dist/ right now: old files go only after the new ones are in place.
  await swap();
  if (existsSync(join(root, "scripts/bundle-agent.mjs"))) await import("./bundle-agent.mjs");
  await rename(join(scratch, ".built"), join(dist, ".built"));
} finally {
  await rm(scratch, { recursive: true, force: true });
}

async function swap() {
  const made = (await readdir(scratch)).filter((name) => name !== ".built");
  const entryLast = made.toSorted((a, b) => Number(a.startsWith("cli.")) - Number(b.startsWith("cli.")));
  for (const name of entryLast) await rename(join(scratch, name), join(dist, name));
  const old = (await readdir(dist)).filter((name) => name.startsWith("chunk-") && !made.includes(name));
  for (const name of old) await rm(join(dist, name), { force: true });
}

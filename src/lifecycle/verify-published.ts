import { mkdir, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { fetchOutput } from "../acquire/output.ts";
import type { RunContext } from "../host/context.ts";
import { cacheDirectory, specPaths } from "../host/paths.ts";
import { manifestFiles, parseManifest } from "../seal/manifest.ts";
import { verifyOutput, type VerifyCheck, type VerifyOptions, type VerifyResult } from "../seal/verify.ts";
import { openStore } from "../store/store.ts";
import { rebuildPublished } from "./rebuild.ts";

export interface VerifyPublishedOptions extends Omit<VerifyOptions, "signal"> {
  /** Build it again from spec, lock and store, and compare every byte. */
  rebuild: boolean;
  /** Spec to rebuild from; default: where `build` has it from, two directories above the output. */
  spec?: string;
}

/** `verifyOutput` for a directory, an artifact or an http(s) URL; with `rebuild` also from its inputs. */
export async function verifyPublished(options: VerifyPublishedOptions, context: RunContext): Promise<VerifyResult> {
  const url = webAddress(options.path);
  if (url === undefined) return verifyHere(options, context);
  const fetched = await mkdtemp(join(tmpdir(), "kubedos-fetched-"));
  try {
    const { only } = await fetchOutput(url, fetched, context);
    const path = only === undefined ? fetched : join(fetched, only);
    if (options.rebuild && options.spec === undefined) {
      throw new KubedosError("usage", "--rebuild of what comes from the web needs its spec", {
        hint: "add --spec FILE",
      });
    }
    return { ...(await verifyHere({ ...options, path }, context)), directory: url.href };
  } finally {
    await rm(fetched, { recursive: true, force: true });
  }
}

function webAddress(path: string): URL | undefined {
  if (!/^https?:\/\//.test(path)) return undefined;
  try {
    return new URL(path);
  } catch {
    throw new KubedosError("usage", `not a URL: ${path}`);
  }
}

async function verifyHere(options: VerifyPublishedOptions, context: RunContext): Promise<VerifyResult> {
  const result = await verifyOutput({ ...options, signal: context.signal });
  if (!options.rebuild) return result;
  const isDirectory = (await stat(options.path)).isDirectory();
  const only = isDirectory ? undefined : basename(options.path);
  const checks = [...result.checks, ...(await checkRebuild(result.directory, only, options.spec, context))];
  return { ...result, checks };
}

async function checkRebuild(
  directory: string,
  only: string | undefined,
  specFile: string | undefined,
  context: RunContext,
): Promise<VerifyCheck[]> {
  const text = await readFile(join(directory, manifestFiles.manifest), "utf8");
  const manifest = parseManifest(text, manifestFiles.manifest);
  const spec = specFile ?? (await specOf(directory));
  const store = await openStore(cacheDirectory());
  const parent = join(store.directory, "scratch");
  await mkdir(parent, { recursive: true });
  const out = await mkdtemp(join(parent, "rebuilt-"));
  try {
    const published = { directory, manifest, ...(only === undefined ? {} : { only }) };
    const rebuilt = await rebuildPublished(specPaths(spec), published, out, store, context);
    const detail = `built again from ${basename(spec)} and its lock in ${rebuilt.seconds.toFixed(1)} s`;
    if (rebuilt.same) {
      return [{ check: "rebuild", file: only ?? manifestFiles.manifest, status: "ok", detail, findings: [] }];
    }
    return rebuilt.differences.map(({ file, findings }) => {
      return { check: "rebuild", file, status: "failed" as const, detail, findings };
    });
  } finally {
    await rm(out, { recursive: true, force: true });
    await rm(`${out}.state`, { recursive: true, force: true });
  }
}

/** `lab.yaml` of `out/lab`. */
async function specOf(directory: string): Promise<string> {
  for (const extension of ["yaml", "yml"]) {
    const file = join(dirname(dirname(directory)), `${basename(directory)}.${extension}`);
    if ((await stat(file).catch(() => undefined)) !== undefined) return file;
  }
  throw new KubedosError("usage", `--rebuild: the spec of ${directory} is not beside it`, { hint: "add --spec FILE" });
}

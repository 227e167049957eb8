// npm run relock: brings package-lock.json up to date with package.json, and names the optional packages of platforms that
// the registry at hand does not carry. Newer npm refuses `npm ci` for a lock that leaves them out; they are never fetched.
import { execFileSync } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const file = join(root, "package-lock.json");
const systems = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"];
const processors = ["arm", "arm64", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "x64"];

execFileSync("npm", ["install", "--package-lock-only", "--silent"], { cwd: root, stdio: "inherit" });
const lock = JSON.parse(await readFile(file, "utf8"));
const packages = new Map(Object.entries(lock.packages));
for (const entry of [...packages.values()]) {
  for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
    const path = `node_modules/${name}`;
    if (!packages.has(path)) packages.set(path, absent(name, range, entry));
  }
}
const sorted = [...packages].toSorted(([a], [b]) => (a < b ? -1 : 1));
await writeFile(file, `${JSON.stringify({ ...lock, packages: Object.fromEntries(sorted) }, undefined, 2)}\n`);

/** Such packages are named after what they are for: `binding-linux-x64-musl`. */
function absent(name, range, { dev }) {
  const words = name.split("/").at(-1).split("-");
  const os = words.filter((word) => systems.includes(word));
  const cpu = words.filter((word) => processors.includes(word));
  if (os.length === 0 || cpu.length === 0) throw new Error(`${name}: its platform cannot be told from its name`);
  const libc = words.includes("musl")
    ? ["musl"]
    : os.includes("linux") && words.includes("gnu")
      ? ["glibc"]
      : undefined;
  return { version: range.replace(/^[~^]/, ""), dev, optional: true, os, cpu, libc };
}

import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { projectRoot } from "../host/project.ts";
import { tarEnd, tarPadding, ustarHeader } from "../targets/tar.ts";

/** What of the project's tree is kubedos: all that runs, and all that it was made from. */
const parts = [
  "dist",
  "src",
  "shared",
  "node",
  "ui",
  "scripts",
  "docs",
  "examples",
  "package.json",
  "package-lock.json",
  ".npmrc",
  "tsconfig.json",
  "kubedos",
  "LICENSE",
  "README.md",
  "CHANGELOG.md",
] as const;

/** Locks, half-made bundles and maps of other people's bundles. */
const leftOut = /^dist\/(\.|.*\.map$)|(^|\/)node_modules(\/|$)/;

/** Paths of the project's files that belong to the tool, sorted. */
async function toolFiles(): Promise<string[]> {
  const root = projectRoot();
  const found: string[] = [];
  const visit = async (path: string): Promise<void> => {
    if (leftOut.test(path)) return;
    const info = await stat(join(root, path)).catch(() => undefined);
    if (info?.isFile() === true) found.push(path);
    if (info?.isDirectory() !== true) return;
    for (const name of await readdir(join(root, path))) await visit(`${path}/${name}`);
  };
  for (const part of parts) await visit(part);
  return found.toSorted();
}

/** This kubedos as a ustar archive: the same bytes for the same files, wherever they lie. */
export async function toolArchive(epoch: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for (const path of await toolFiles()) {
    const content = await readFile(join(projectRoot(), path));
    chunks.push(ustarHeader(path, content.length, epoch), content, Buffer.alloc(tarPadding(content.length)));
  }
  return Buffer.concat([...chunks, tarEnd]);
}

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseLock } from "../lock/file.ts";
import { diffLocks, type PackageDiff } from "../lock/diff.ts";
import { capsuleFolders, readIndex, type CapsuleFile, type CapsuleIndex } from "./format.ts";

/** What differs between two capsules. */
export interface CapsuleDiff {
  same: boolean;
  /** Facts of the two, where they differ. */
  facts: { what: string; from: string; to: string }[];
  files: { path: string; change: "added" | "removed" | "changed"; from?: CapsuleFile; to?: CapsuleFile }[];
  /** Of platform and foundry root; a package that was added has no `from`. */
  packages: { name: string; from?: string; to?: string }[];
}

/** Compares two capsules by their lists and locks; `verifyCapsule` says whether the lists are true. */
export async function diffCapsules(a: string, b: string): Promise<CapsuleDiff> {
  const [from, to] = await Promise.all([readIndex(a), readIndex(b)]);
  const facts = (["cluster", "kubedos", "epoch", "vault"] as const)
    .filter((what) => from[what] !== to[what])
    .map((what) => ({ what, from: String(from[what]), to: String(to[what]) }));
  const files: CapsuleDiff["files"] = [];
  const other = new Map(to.files.map((file) => [file.path, file]));
  for (const file of from.files) {
    const twin = other.get(file.path);
    other.delete(file.path);
    if (twin === undefined) files.push({ path: file.path, change: "removed", from: file });
    else if (twin.sha256 !== file.sha256) files.push({ path: file.path, change: "changed", from: file, to: twin });
  }
  for (const file of other.values()) files.push({ path: file.path, change: "added", to: file });
  const { platform, foundry, machines, shim, netinst, installer } = diffLocks(
    await lockOf(a, from),
    await lockOf(b, to),
  );
  return {
    same: files.length === 0 && facts.length === 0,
    facts,
    files: files.toSorted((x, y) => (x.path < y.path ? -1 : 1)),
    packages: [
      ...changes(platform, ""),
      ...changes(foundry, " (foundry)"),
      ...changes(machines, " (machines)"),
      ...changes(shim, " (shim)"),
      ...changes(netinst, " (netinst)"),
      ...changes(installer, " (installer)"),
    ],
  };
}

async function lockOf(directory: string, index: CapsuleIndex) {
  const path = join(directory, capsuleFolders.spec, `${index.spec}.lock`);
  return parseLock(await readFile(path, "utf8"), path);
}

function changes({ added, removed, changed }: PackageDiff, note: string): CapsuleDiff["packages"] {
  return [
    ...removed.map(({ name, version }) => ({ name: `${name}${note}`, from: version })),
    ...added.map(({ name, version }) => ({ name: `${name}${note}`, to: version })),
    ...changed.map(({ name, from, to }) => ({ name: `${name}${note}`, from: from.version, to: to.version })),
  ];
}

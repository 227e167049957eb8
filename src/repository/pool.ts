import { KubedosError } from "../../shared/error.ts";
import type { LockedPackage } from "../lock/types.ts";

/** Archives whose pools never collide, so that their paths are kept: Debian's security archive uses `pool/updates/`. */
const debianArchives = new Set(["debian", "debian-security"]);

/** A package's file at its place in a repository. */
export interface PoolFile {
  path: string;
  entry: LockedPackage;
}

/**
 * Where each package lies: Debian's own path, or `pool/<archive>/…` for other archives. Sorted by path.
 *
 * @throws KubedosError code "spec" when two different packages would have one path
 */
export function poolFiles(packages: readonly LockedPackage[]): PoolFile[] {
  const files = new Map<string, LockedPackage>();
  for (const entry of packages) {
    const path = poolPath(entry);
    const before = files.get(path);
    if (before !== undefined && before.sha256 !== entry.sha256) {
      throw new KubedosError("spec", `${before.name} and ${entry.name} both want the place ${path}`, {
        hint: "make the lock anew with `kubedos lock --update`",
      });
    }
    files.set(path, entry);
  }
  return [...files]
    .map(([path, entry]) => ({ path, entry }))
    .toSorted((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

function poolPath({ archive, path }: LockedPackage): string {
  if (debianArchives.has(archive) && path.startsWith("pool/")) return path;
  return `pool/${archive}/${path.replace(/^pool\//, "")}`;
}

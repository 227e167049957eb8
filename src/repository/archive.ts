import { rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { uniqueBeside } from "../host/unique.ts";
import type { PackagesIndex } from "../lock/apt.ts";
import type { LockedPackage } from "../lock/types.ts";
import type { Store } from "../store/store.ts";
import type { PoolFile } from "./pool.ts";

/**
 * Every package that an archive's index names (deb822; https://wiki.debian.org/DebianRepository/Format).
 *
 * @throws KubedosError when a paragraph lacks what is needed to fetch and check the package
 */
export function packagesOf({ archive, suite, text }: PackagesIndex): LockedPackage[] {
  return text
    .split(/\n{2,}/)
    .filter((paragraph) => paragraph.trim() !== "")
    .map((paragraph) => {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(paragraph)?.[1]?.trim() ?? "";
      const entry = {
        name: field("Package"),
        version: field("Version"),
        architecture: field("Architecture"),
        sizeBytes: Number(field("Size")),
        sha256: field("SHA256"),
        archive,
        suite,
        path: field("Filename").replace(/^\.\//, ""),
      };
      if (isWhole(entry)) return entry;
      throw new KubedosError("failed", `the index of ${suite} says too little about ${entry.name || "a package"}`, {
        hint: "Filename, Size and SHA256 are needed: use another mirror in platform.mirror",
      });
    });
}

function isWhole({ name, sizeBytes, sha256, path }: LockedPackage): boolean {
  const clean = /^[\w.+~:%-]+(\/[\w.+~:%-]+)*\.deb$/.test(path) && !path.split("/").some((part) => /^\.+$/.test(part));
  return name !== "" && sizeBytes > 0 && /^[0-9a-f]{64}$/.test(sha256) && clean;
}

/**
 * A repository's directory as a place to fetch into: packages go straight to their paths, and a run that was
 * interrupted goes on with them. A package is renamed to its path when its hash was right, so its size is enough to know it.
 */
export function poolStore(directory: string, pool: readonly PoolFile[]): Store {
  const paths = new Map(pool.map(({ path, entry }) => [entry.sha256, path]));
  const path = (sha256: string) => join(directory, paths.get(sha256) ?? `pool/${sha256}`);
  const size = (sha256: string) => stat(path(sha256)).then((info) => info.size, always(undefined));
  const refuse = () => Promise.reject(new KubedosError("failed", "a repository's directory takes packages only"));
  return {
    directory,
    path,
    size,
    has: async (sha256) => (await size(sha256)) !== undefined,
    temporary: async () => uniqueBeside(join(directory, "pool/new")),
    async putFile(file, sha256 = "") {
      await rename(file, path(sha256));
      return { sha256, sizeBytes: (await size(sha256)) ?? 0 };
    },
    putBytes: refuse,
    remove: refuse,
    async verify(sha256, { sizeBytes } = {}) {
      const found = await size(sha256);
      if (found === undefined) return "missing";
      return found === sizeBytes ? "ok" : "damaged";
    },
    partPath: (sha256) => `${path(sha256)}.part`,
    lease: async () => ({ release: async () => undefined }),
  };
}

function always<T>(value: T): () => T {
  return () => value;
}

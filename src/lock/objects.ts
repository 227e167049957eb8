import type { LockedPackage, Lock } from "./types.ts";

/** One content that a lock names, whatever it is. */
export interface LockedObject {
  /** For people: what it is called, and its version where it has one. */
  name: string;
  version: string;
  sha256: string;
  sizeBytes: number;
  kind: "deb" | "wheel" | "blob" | "image" | "security data";
}

/**
 * Every content that a lock names, each hash once: what must be in the store before a build, what `gc` keeps, and what
 * a capsule holds.
 */
export function lockedObjects(lock: Lock): LockedObject[] {
  const debs = [...lock.platform, ...lock.foundry, ...(lock.machines ?? []), ...othersOf(lock)].map(debObject);
  const wheels = (lock.wheels ?? []).map(({ name, version, sha256, sizeBytes }) => {
    return { name, version, sha256, sizeBytes, kind: "wheel" as const };
  });
  const blobs = (lock.blobs ?? []).map(({ name, sha256, sizeBytes }) => {
    return { name, version: "", sha256, sizeBytes, kind: "blob" as const };
  });
  const images = (lock.images ?? []).flatMap(({ reference, manifest, config, layers }) =>
    [manifest, config, ...layers].map(({ sha256, sizeBytes }) => {
      return { name: reference, version: `sha256:${sha256.slice(0, 12)}`, sha256, sizeBytes, kind: "image" as const };
    }),
  );
  const data = lock.securityData;
  const security: LockedObject[] =
    data === undefined
      ? []
      : [
          {
            name: "security tracker",
            version: new Date(data.date * 1000).toISOString().slice(0, 10),
            sha256: data.sha256,
            sizeBytes: data.sizeBytes,
            kind: "security data",
          },
        ];
  const all = [...debs, ...wheels, ...blobs, ...images, ...security];
  return [...new Map(all.map((object) => [object.sha256, object])).values()];
}

/** What `acquire` fetches for a build, Debian's packages as they are; what only capsules hold is not among it. */
export function buildObjects(lock: Lock): (LockedPackage | LockedObject)[] {
  const others = lockedObjects(lock).filter(({ kind }) => kind !== "deb");
  return [...lock.platform, ...lock.foundry, ...othersOf(lock), ...others];
}

/** Packages that are in locks of some specs only. */
function othersOf({ shim = [], netinst = [], installer = [] }: Lock): LockedPackage[] {
  return [...shim, ...netinst, ...installer];
}

function debObject({ name, version, sha256, sizeBytes }: LockedPackage): LockedObject {
  return { name, version, sha256, sizeBytes, kind: "deb" };
}

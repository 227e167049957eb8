import { foundryPackages, machinePackages, pythonFoundryPackages, shimPackages } from "../assemble/foundry-packages.ts";
import { netinstRequest } from "../targets/netinst/packages.ts";
import { outlinePlatform } from "../features/collect.ts";
import type { RunContext } from "../host/context.ts";
import { openRegistry } from "../acquire/registry.ts";
import { plainRegistries } from "../acquire/sources.ts";
import { lockBlobs } from "../lock/blobs.ts";
import { diffLines } from "../lock/diff.ts";
import { lockImage } from "../lock/images.ts";
import type { LockedImage, LockedSource, PythonRequest } from "../lock/inputs.ts";
import { createLock, lockedSources, lockMatches, type LockRequest } from "../lock/lock.ts";
import { fetchTracker, lockSecurity } from "../lock/security.ts";
import type { Lock } from "../lock/types.ts";
import type { Spec, SpecBlob, SpecSource } from "../spec/types.ts";
import type { Store } from "../store/store.ts";
import { lockPython } from "./lock-python.ts";

/** Everything that a lock for one spec must hold. */
export interface InputsRequest extends LockRequest {
  python: PythonRequest[];
  blobs: SpecBlob[];
  images: Spec["platform"]["images"];
  sources: SpecSource[];
  /** URL or file of the security tracker's data. Absent: Debian's, if it can be reached. */
  securityTracker?: string;
}

/** What a lock for this spec must hold. */
export function lockRequest(spec: Spec): InputsRequest {
  const { packages, wheels } = outlinePlatform(spec);
  return {
    suite: spec.platform.suite,
    profile: spec.platform.repository.profile,
    mirror: spec.platform.mirror,
    platform: packages,
    foundry: [...foundryPackages, ...(wheels.length > 0 ? pythonFoundryPackages : [])].toSorted(),
    machines: machinePackages,
    ...(spec.trust.shim ? { shim: shimPackages } : {}),
    ...(spec.targets.includes("netinst") ? { netinst: netinstRequest } : {}),
    python: wheels,
    blobs: spec.platform.blobs,
    images: spec.platform.images,
    sources: spec.platform.sources,
  };
}

/**
 * Resolves every input of a spec: Debian's packages first, then what needs the build tools among them. Meanwhile the
 * security tracker's data come.
 */
export async function makeLock(request: InputsRequest, store: Store, context: RunContext): Promise<Lock> {
  const tracker = context.offline ? Promise.resolve(undefined) : fetchTracker(request.securityTracker, context);
  tracker.catch(() => undefined); // it is waited for below
  const lock = await createLock(request, context);
  const wheels = await lockPython(request.python, lock, request.mirror, store, context);
  const blobs = request.blobs.length === 0 ? undefined : await lockBlobs(request.blobs, store, context);
  const images = await lockImages(request.images, store, context);
  const securityData = await lockSecurity(await tracker, lock, store);
  return {
    ...lock,
    requested: { ...lock.requested, ...(request.python.length > 0 ? { python: request.python } : {}) },
    ...(wheels === undefined ? {} : { wheels }),
    ...(blobs === undefined ? {} : { blobs }),
    ...(images === undefined ? {} : { images }),
    ...(securityData === undefined ? {} : { securityData }),
  };
}

async function lockImages(
  images: InputsRequest["images"],
  store: Store,
  context: RunContext,
): Promise<LockedImage[] | undefined> {
  if (images.length === 0) return undefined;
  const registry = await openRegistry(plainRegistries(images));
  const locked: LockedImage[] = [];
  for (const { reference } of images) locked.push(await lockImage(reference, registry, store, context.signal));
  return locked.toSorted((a, b) => (a.reference < b.reference ? -1 : 1));
}

/** What a spec asks for and its lock lacks (`+`), or the other way round (`-`); empty: the lock fits. */
export function lockMismatches(lock: Lock, request: InputsRequest): string[] {
  const { added, removed, suites } = lockMatches(lock, request);
  const python = diffLines((lock.requested.python ?? []).map(pythonLine), request.python.map(pythonLine));
  const pinned = new Set(request.blobs.filter(({ sha256 }) => sha256 !== undefined).map(({ name }) => name));
  const blobs = diffLines(
    (lock.blobs ?? []).map((one) => blobLine(one, pinned.has(one.name))),
    request.blobs.map((one) => blobLine(one, pinned.has(one.name))),
  );
  const references = (list: readonly { reference: string }[]) => list.map(({ reference }) => reference);
  const images = diffLines(references(lock.images ?? []), references(request.images));
  const keys = diffLines((lock.thirdParty ?? []).map(sourceLine), lockedSources(request.sources).map(sourceLine));
  return [
    ...added.map((name) => `+${name}`),
    ...removed.map((name) => `-${name}`),
    ...(suites ? [] : ["other suites"]),
    ...[python, blobs, images, keys].flatMap((one) => [
      ...one.added.map((line) => `+${line}`),
      ...one.removed.map((line) => `-${line}`),
    ]),
  ];
}

/** A blob's line for comparing; the hash counts only where the spec gives one. */
function blobLine(
  { name, path, mode, sha256 }: Pick<SpecBlob, "name" | "path" | "sha256"> & { mode?: number },
  pinned: boolean,
): string {
  const place = path === undefined ? "" : ` as ${path} ${(mode ?? 0o644).toString(8)}`;
  return `${name}${place}${pinned ? ` sha256:${sha256!}` : ""}`;
}

function sourceLine({ name, fingerprints }: LockedSource): string {
  return `source ${name}, signed by ${fingerprints.join(", ")}`;
}

function pythonLine({ prefix, requirements, without = [] }: PythonRequest): string {
  const left = without.length === 0 ? "" : ` without ${without.join(", ")}`;
  return `${requirements.join(", ")} in ${prefix}${left}`;
}

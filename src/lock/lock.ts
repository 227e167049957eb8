import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { takeExclusive } from "../host/lease.ts";
import { cacheDirectory } from "../host/paths.ts";
import { checkNames } from "./apt-errors.ts";
import { readSuites, resolveClosure, updateApt } from "./apt.ts";
import { debianKeyring, type AptSource, type PrivateApt } from "./private-apt.ts";
import { hasApt, readHostApt, type HostApt } from "./host-apt.ts";
import { resolveMirrors, type Mirrors } from "./mirrors.ts";
import type { SpecSource } from "../spec/types.ts";
import type { LockedSource } from "./inputs.ts";
import { keyFingerprints } from "./openpgp-key.ts";
import { suitesOfProfile } from "./suites.ts";
import { lockFormat, type Lock, type LockedPackage, type PackageSection } from "./types.ts";

/** Component of the archive with the installer's parts. */
const installerComponent = "main/debian-installer";

/** What to lock. */
export interface LockRequest {
  /** Debian suite, e.g. `trixie`. */
  suite: string;
  profile: "base" | "base+updates" | "full";
  /** Base URLs tried in order (see `resolveMirrors`); empty: the host's own apt configuration. */
  mirror: readonly string[];
  /** Package names of the platform and of the foundry root. */
  platform: readonly string[];
  foundry: readonly string[];
  /** Names of what runs machines, beside the foundry root. */
  machines?: readonly string[];
  /** Names of packages of which boot images take files, without what they depend on. */
  shim?: readonly string[];
  /** What the target netinst needs beside the platform. */
  netinst?: NetinstRequest;
  /** Apt sources beside Debian's. */
  sources?: readonly SpecSource[];
  /** Components of the archive. Default: `main`. */
  components?: readonly string[];
  /** Keyring that must have signed the archives. Default: Debian's. */
  keyring?: string;
  /** Cache directory, for the indexes. Default: the user's. */
  cache?: string;
}

/** What an installation by Debian's installer needs. */
export interface NetinstRequest {
  /** Packages that come to the platform's; sets that exclude each other (boot loaders) are resolved one by one. */
  packages: readonly (readonly string[])[];
  /** The installer's own parts (udebs). */
  installer: readonly string[];
  /** Of what these need, the parts that come from elsewhere. */
  without: readonly string[];
}

/**
 * Resolves both closures with apt itself, from one state of the archives.
 *
 * @throws KubedosError code "offline" when the network may not be used; else see `updateApt` and `resolveClosure`
 */
export async function createLock(request: LockRequest, context: RunContext): Promise<Lock> {
  const { emit, signal } = context;
  const seconds = stopwatch();
  const stage = "lock";
  if (context.offline) {
    throw new KubedosError("offline", "a lock cannot be made offline: it reads the archives' newest indexes", {
      hint: "run `kubedos lock` with a network, or use the lock that is there",
    });
  }
  checkNames(Object.values(requestedNames(request)).flat());
  emit({ type: "stage.started", stage, id: stage });
  const progress = (done: number, note: string) => {
    emit({ type: "stage.progress", stage, done, total: 3, unit: "items", note });
  };

  try {
    progress(0, "package indexes");
    return await withIndexes(request, context, async (apt) => {
      progress(1, "platform closure");
      const platform = await resolveClosure(apt, request.platform, signal);
      progress(2, "foundry closure");
      const foundry = await resolveClosure(apt, request.foundry, signal);
      const machines = await machineClosure(apt, request, foundry, signal);
      const shim = await shimPackages(apt, request, signal);
      const netinst = await netinstClosures(apt, request, platform, context);
      const suites = await readSuites(apt);
      emit({ type: "stage.done", stage, id: stage, seconds: seconds() });
      return {
        format: lockFormat,
        epoch: Math.max(...suites.map((suite) => suite.date)),
        architecture: "amd64",
        suites,
        requested: requestedNames(request),
        platform,
        foundry,
        ...(machines === undefined ? {} : { machines }),
        ...(shim === undefined ? {} : { shim }),
        ...netinst,
        ...(request.sources === undefined || request.sources.length === 0
          ? {}
          : { thirdParty: lockedSources(request.sources) }),
      };
    });
  } catch (error) {
    emit({ type: "stage.failed", stage, id: stage, message: error instanceof Error ? error.message : String(error) });
    throw error;
  }
}

/** What running machines needs beyond the foundry root. */
async function machineClosure(
  apt: PrivateApt,
  { foundry: names, machines }: LockRequest,
  foundry: readonly LockedPackage[],
  signal: AbortSignal,
): Promise<LockedPackage[] | undefined> {
  if (machines === undefined) return undefined;
  const there = new Set(foundry.map(({ sha256 }) => sha256));
  const all = await resolveClosure(apt, [...names, ...machines], signal);
  return all.filter(({ sha256 }) => !there.has(sha256));
}

/** These packages alone: their files are taken, they are not installed. */
async function shimPackages(
  apt: PrivateApt,
  { shim }: LockRequest,
  signal: AbortSignal,
): Promise<LockedPackage[] | undefined> {
  if (shim === undefined) return undefined;
  return (await resolveClosure(apt, shim, signal)).filter(({ name }) => shim.includes(name));
}

/** Debian's kernels and their modules as the installer packs them: the medium has the platform's own kernel. */
const installerKernel = /-di$/;

/** What the target netinst installs beyond the platform, and the parts of the installer. */
async function netinstClosures(
  apt: PrivateApt,
  request: LockRequest,
  platform: readonly LockedPackage[],
  context: RunContext,
): Promise<Pick<Lock, "netinst" | "installer">> {
  if (request.netinst === undefined) return {};
  const there = new Set(platform.map(({ sha256 }) => sha256));
  const packages = new Map<string, LockedPackage>();
  for (const set of request.netinst.packages) {
    const closure = await resolveClosure(apt, [...request.platform, ...set], context.signal);
    for (const item of closure) if (!there.has(item.sha256)) packages.set(item.name, item);
  }
  const { installer: names, without } = request.netinst;
  const own = { ...request, profile: "base", components: [installerComponent], sources: [] } as const;
  const installer = await withIndexes(own, context, async (parts) => {
    const [release] = await readSuites(parts);
    const known = (await readSuites(apt)).some(({ releaseSha256 }) => releaseSha256 === release?.releaseSha256);
    if (!known) {
      throw new KubedosError("failed", `${request.suite} changed while the lock was made`, {
        hint: "run `kubedos lock` again",
      });
    }
    return resolveClosure(parts, names, context.signal);
  });
  return {
    netinst: [...packages.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    installer: installer.filter(({ name }) => !installerKernel.test(name) && !without.includes(name)),
  };
}

/**
 * Brings the indexes of the request's suites up to date, in a private apt, and works with them while nobody else does.
 *
 * @throws KubedosError as `updateApt`, and when the host has no apt
 */
export async function withIndexes<T>(
  request: Pick<LockRequest, "suite" | "profile" | "components" | "mirror" | "sources" | "keyring" | "cache">,
  context: RunContext,
  work: (apt: PrivateApt) => Promise<T>,
): Promise<T> {
  const { emit, signal } = context;
  const forInstaller = request.components?.includes(installerComponent) === true;
  // 1. One private apt a suite and profile; a second kubedos waits for the first
  const directory = join(
    request.cache ?? cacheDirectory(),
    "apt",
    `${request.suite}-${request.profile}${forInstaller ? "-installer" : ""}`.replaceAll(/[^\w.+-]/g, "_"),
  );
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const lease = await takeExclusive(join(directory, "kubedos.lease"), signal, (pid) => {
    emit({ type: "log", level: "info", message: `waiting for another lock run (pid ${pid})` });
  });
  try {
    // 2. Verified indexes of all suites
    const { host, mirrors } = await findMirrors(request.mirror, signal);
    if (!(await hasApt())) {
      throw new KubedosError("failed", "this host has no apt, and apt resolves the packages of a lock", {
        hint: "make the lock on a Debian or Ubuntu host; building from a lock does not need the host's apt",
      });
    }
    const sources = aptSources(request);
    const keyring = request.keyring ?? debianKeyring;
    const others = Object.fromEntries((request.sources ?? []).map(({ name, urls }) => [name, sourceBases(urls)]));
    const apt = await updateApt({ directory, sources, mirrors: { ...mirrors, ...others }, keyring, host }, context);
    return await work(apt);
  } finally {
    await lease.release();
  }
}

/** Where the archives are: the spec's list or the host's own sources, with the host's way to reach them. */
export async function findMirrors(
  listed: readonly string[],
  signal?: AbortSignal,
): Promise<{ host: HostApt; mirrors: Mirrors }> {
  const empty = await mkdtemp(join(tmpdir(), "kubedos-apt-"));
  try {
    const host = await readHostApt(empty, signal);
    return { host, mirrors: resolveMirrors(listed, host.mirrors) };
  } finally {
    await rm(empty, { recursive: true, force: true });
  }
}

/** Debian's suites and the spec's own, in the order in which apt sees them. */
function aptSources(request: Pick<LockRequest, "suite" | "profile" | "components" | "sources">): AptSource[] {
  return [
    ...suitesOfProfile(request.suite, request.profile, request.components ?? ["main"]),
    ...(request.sources ?? []).map(({ name, suite, components, key }) => ({ archive: name, suite, components, key })),
  ];
}

/** Base URLs of a source without trailing slashes; a path stands for a file: URL with one, as apt prints it. */
export function sourceBases(urls: readonly string[]): string[] {
  return urls.map((url) => url.replace(/\/+$/, "").replace(/^file:\/+/, "file:/"));
}

/** Who must have signed each source, sorted by name. */
export function lockedSources(sources: readonly SpecSource[]): LockedSource[] {
  return sources
    .map(({ name, key }) => ({ name, fingerprints: keyFingerprints(key, `key of the source ${name}`) }))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** Whether the lock was made for exactly these packages and suites; if not, what differs. */
export function lockMatches(
  lock: Pick<Lock, "requested" | "suites">,
  request: Pick<
    LockRequest,
    "platform" | "foundry" | "shim" | "netinst" | "suite" | "profile" | "components" | "sources"
  >,
): { matches: boolean; added: string[]; removed: string[]; suites: boolean } {
  const wanted = requestedNames(request);
  // What only another target needs may stay in a lock.
  const all = (names: Lock["requested"]) => [
    ...names.platform,
    ...names.foundry.map((name) => `${name} (foundry)`),
    ...(names.shim ?? []).map((name) => `${name} (shim)`),
    ...(wanted.netinst === undefined ? [] : (names.netinst ?? []).map((name) => `${name} (netinst)`)),
    ...(wanted.netinst === undefined ? [] : (names.installer ?? []).map((name) => `${name} (installer)`)),
  ];
  const added = all(wanted).filter((name) => !all(lock.requested).includes(name));
  const removed = all(lock.requested).filter((name) => !all(wanted).includes(name));
  const key = (sources: readonly AptSource[] | Lock["suites"]) =>
    JSON.stringify(sources.map(({ archive, suite, components }) => [archive, suite, components]));
  const suites = key(aptSources(request)) === key(lock.suites);
  return { matches: added.length === 0 && removed.length === 0 && suites, added, removed, suites };
}

function requestedNames(
  request: Pick<LockRequest, "platform" | "foundry" | "machines" | "shim" | "netinst">,
): Pick<Lock["requested"], PackageSection> {
  const sorted = (names: readonly string[]) => [...new Set(names)].toSorted();
  const { platform, foundry, machines, shim, netinst } = request;
  return {
    platform: sorted(platform),
    foundry: sorted(foundry),
    ...(machines === undefined ? {} : { machines: sorted(machines) }),
    ...(shim === undefined ? {} : { shim: sorted(shim) }),
    ...(netinst === undefined
      ? {}
      : { netinst: sorted(netinst.packages.flat()), installer: sorted(netinst.installer) }),
  };
}

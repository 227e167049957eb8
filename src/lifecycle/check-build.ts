import { copyFile, mkdir, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import type { EventBody } from "../../shared/events.ts";
import { openFoundry } from "../assemble/foundry.ts";
import { acquire } from "../acquire/acquire.ts";
import { lockSources } from "../acquire/sources.ts";
import { ownCircumstances, runSelf, type Circumstances } from "../host/circumstances.ts";
import { stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { fileSystemOf, ignoreMissing } from "../host/disk.ts";
import { freshBytes } from "../host/random.ts";
import { buildObjects, lockedObjects } from "../lock/objects.ts";
import { compareOutputs, type FileDifference } from "../seal/compare.ts";
import { initrdUnpacker } from "../seal/verify-tools.ts";
import { makeScratchCache, type ScratchCache } from "../store/scratch.ts";
import { hashFile } from "../store/store.ts";
import { sealVault } from "../vault/vault.ts";
import { readBeside } from "./content.ts";
import { compareStages } from "./check-stages.ts";
import type { Project } from "./project.ts";

/** One circumstance of the two builds. */
export interface VariedCircumstance {
  what: string;
  first: string;
  second: string;
}

export interface CheckedBuild {
  same: boolean;
  /** Published files, and what they come to. */
  files: number;
  sizeBytes: number;
  varied: VariedCircumstance[];
  differences: FileDifference[];
  /** Stages whose outputs differ though their inputs are the same: where the cause is. */
  stages: string[];
  /** Of the output directory that is there already: `same`, `different`, or `none`. */
  published: "same" | "different" | "none";
  /** Where both outputs were left, when they differ. */
  kept?: string;
  seconds: number;
}

const yearSeconds = 31_556_952;
/** Years ahead, and at another time of the day. */
const clockSeconds = 11 * yearSeconds + 40_271;

interface Side {
  name: "first" | "second";
  cache: ScratchCache;
  spec: string;
  out: string;
}

/**
 * Builds everything twice from nothing but the lock's inputs, in circumstances as different as this host allows, each
 * in a process of its own with an empty action cache and foundry root, and compares every byte of every output.
 *
 * @param args options of `build` that both runs get, e.g. `--target`
 * @throws KubedosError when one of the builds fails; a difference is a result, not an error
 */
export async function checkBuild(
  project: Project,
  args: readonly string[],
  context: RunContext,
): Promise<CheckedBuild> {
  const elapsed = stopwatch();
  const { lock, store, spec } = project;
  const { signal } = context;
  const lease = await store.lease(signal);
  const caches: ScratchCache[] = [];
  let keep = false;
  try {
    // 1. Inputs, once; from then on nothing is online.
    await acquire(buildObjects(lock), () => lockSources(spec, lock, context), store, context);
    const foundry = await openFoundry(lock, store, context);
    // 2. Two sides that share nothing but these inputs.
    const passphrase = freshBytes(24).toString("hex");
    const sides: Side[] = [];
    for (const name of ["first", "second"] as const) {
      const cache = await makeScratchCache(
        store,
        lockedObjects(lock).map(({ sha256 }) => sha256),
      );
      caches.push(cache);
      sides.push(await prepareSide(project, name, cache, passphrase));
    }
    const [first, second] = sides as [Side, Side];
    // 3. Build, one after the other: they must not meet at the same second either.
    const [own, other] = [firstCircumstances(first), secondCircumstances(second)];
    await buildSide(first, own, args, passphrase, context);
    await buildSide(second, other, [...args, "--serial"], passphrase, context);
    // 4. Compare.
    const scratch = join(second.cache.directory, "compare");
    await mkdir(scratch);
    const unpackInitrd = initrdUnpacker(foundry.directory, scratch, lock.epoch, signal);
    const differences = await compareOutputs(first.out, second.out, { scratch, unpackInitrd, signal });
    const stages = differences.length === 0 ? [] : await compareStages(project, first.cache.store, second.cache.store);
    keep = differences.length > 0;
    return {
      same: !keep,
      ...(await measure(first.out)),
      varied: await describe(own, other, first, second),
      differences,
      stages,
      published: await comparePublished(project.paths.out, first.out),
      ...(keep ? { kept: dirname(first.cache.directory) } : {}),
      seconds: elapsed(),
    };
  } finally {
    if (!keep) for (const cache of caches) await cache.remove();
    await lease.release();
  }
}

async function prepareSide(
  { paths, spec, vault }: Project,
  name: Side["name"],
  cache: ScratchCache,
  passphrase: string,
): Promise<Side> {
  const place = name === "first" ? "spec" : "another place/with a space and a long name/spec";
  const directory = join(cache.directory, place);
  await mkdir(directory, { recursive: true });
  const file = join(directory, `${spec.metadata.name}.yaml`);
  await copyFile(paths.spec, file);
  for (const { path, mode, content } of await readBeside(paths.spec)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), content, { mode });
  }
  await copyFile(paths.lock, join(directory, `${spec.metadata.name}.lock`));
  // Keys that cannot be derived; not every cluster has some.
  await copyFile(paths.keyring, join(directory, `${spec.metadata.name}.keyring`)).catch(ignoreMissing);
  await sealVault(vault, join(directory, `${spec.metadata.name}.vault`), { passphrase });
  return { name, cache, spec: file, out: join(directory, "out", spec.metadata.name) };
}

function firstCircumstances({ cache, spec }: Side): Circumstances {
  return { cwd: dirname(spec), env: { KUBEDOS_CACHE: cache.directory } };
}

function secondCircumstances({ cache }: Side): Circumstances {
  return {
    cwd: "/",
    clockSeconds,
    stranger: { umask: "077", hostname: "another-host" },
    env: {
      KUBEDOS_CACHE: cache.directory,
      KUBEDOS_WORK: join(cache.directory, "work"),
      HOME: join(cache.directory, "home"),
      USER: "another-user",
      LOGNAME: "another-user",
      EMAIL: "another@example.org",
      TZ: "Pacific/Kiritimati",
      LANG: "tr_TR.UTF-8",
      LC_ALL: "tr_TR.UTF-8",
      SOURCE_DATE_EPOCH: "1",
      PERL5LIB: "/nowhere",
      PYTHONHASHSEED: "1",
      TAR_OPTIONS: "--mode=0777",
      GZIP: "-1",
    },
  };
}

async function buildSide(
  side: Side,
  circumstances: Circumstances,
  args: readonly string[],
  passphrase: string,
  { emit, signal }: RunContext,
): Promise<void> {
  const work = circumstances.env["KUBEDOS_WORK"];
  if (work !== undefined) await mkdir(work);
  let failure: { message: string; hint?: string } | undefined;
  const command = ["build", side.spec, ...args, "--json", "--offline", "--passphrase-file", "-"];
  const outcome = await runSelf(command, circumstances, {
    input: passphrase,
    signal,
    onStdoutLine(line) {
      const event = parseEvent(line);
      if (event === undefined) return;
      if ("error" in event && event.type === "result") failure = event.error;
      else if ("stage" in event) emit({ ...event, stage: `${side.name}: ${event.stage}` });
    },
  });
  signal.throwIfAborted();
  if (outcome.status === 0) return;
  const message = failure?.message ?? (outcome.stderr.trim() || `exit status ${outcome.status}`);
  throw new KubedosError("failed", `the ${side.name} build failed: ${message}`, { hint: failure?.hint });
}

function parseEvent(
  line: string,
): (EventBody | { type: "result"; error?: { message: string; hint?: string } }) | undefined {
  try {
    return JSON.parse(line) as EventBody;
  } catch {
    return undefined;
  }
}

async function measure(directory: string): Promise<{ files: number; sizeBytes: number }> {
  const names = await readdir(directory);
  const sizes = await Promise.all(
    names.map((name) => fileSystemOf(join(directory, name)).then(({ sizeBytes }) => sizeBytes)),
  );
  return { files: names.length, sizeBytes: sizes.reduce((sum, size) => sum + size, 0) };
}

/** What an earlier build has put out: its files must be the same too. */
async function comparePublished(published: string, built: string): Promise<CheckedBuild["published"]> {
  const names = await readdir(published).catch(() => undefined);
  if (names === undefined) return "none";
  for (const name of await readdir(built)) {
    const there = names.includes(name) ? await hashFile(join(published, name)) : undefined;
    if (there !== (await hashFile(join(built, name)))) return "different";
  }
  return "same";
}

async function describe(
  own: Circumstances,
  other: Circumstances,
  first: Side,
  second: Side,
): Promise<VariedCircumstance[]> {
  const here = ownCircumstances();
  const value = (name: string) => other.env[name] ?? "";
  const years = (clockSeconds / yearSeconds).toFixed(0);
  const { type } = await fileSystemOf(second.cache.directory);
  const row = (what: string, one: string, two: string) => ({ what, first: one || "not set", second: two });
  return [
    row("directory", dirname(first.spec), dirname(second.spec)),
    row("working directory", own.cwd, other.cwd),
    row("cache", "empty", "empty, another"),
    row("home", here.home, value("HOME")),
    row("rights", here.user === 0 ? "root" : `user ${here.user}`, "root of a user namespace only"),
    row("host name", here.hostname, other.stranger?.hostname ?? ""),
    row("clock", "as it is", `${years} years ahead`),
    row("time zone", here.timeZone, value("TZ")),
    row("locale", here.locale, value("LC_ALL")),
    row("umask", here.umask, other.stranger?.umask ?? ""),
    row("processors", `${here.processors}`, "1"),
    row("stages", "in parallel", "one after the other"),
    row("directory order", "of tmpfs", type === "tmpfs" ? "of tmpfs: NOT VARIED" : `of ${type}`),
    row("environment", "as it is", "USER, EMAIL, SOURCE_DATE_EPOCH, PERL5LIB, TAR_OPTIONS … set"),
  ];
}

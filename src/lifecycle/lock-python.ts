import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { acquire, acquireSources } from "../acquire/acquire.ts";
import { announcedSize } from "../acquire/fetch-new.ts";
import { openPythonIndex, type PythonIndex } from "../acquire/python-index.ts";
import { wheelOrigins } from "../acquire/sources.ts";
import { openFoundry } from "../assemble/foundry.ts";
import { forEachLimit } from "../assemble/parallel.ts";
import { objectsDirectory, pythonPlan } from "../assemble/stages/python.ts";
import { stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import type { LockedWheel, PythonRequest } from "../lock/inputs.ts";
import {
  buildRequirements,
  resolveBuilders,
  resolvePython,
  type PythonTools,
  type ResolvedWheel,
} from "../lock/python.ts";
import type { Lock } from "../lock/types.ts";
import type { Store } from "../store/store.ts";

/**
 * Pins what the requests need from the host's Python indexes. pip runs in the foundry root of the new lock, so that the
 * answer is for the platform's Python, and is the same on every host.
 *
 * @returns sorted wheels, or undefined when nothing is asked for
 */
export async function lockPython(
  requests: readonly PythonRequest[],
  lock: Lock,
  mirror: readonly string[],
  store: Store,
  context: RunContext,
): Promise<LockedWheel[] | undefined> {
  if (requests.length === 0) return undefined;
  const elapsed = stopwatch();
  const stage = "lock python";
  await acquire(lock.foundry, () => acquireSources(mirror, context.signal), store, context);
  const foundry = await openFoundry(lock, store, context);
  const index = await openPythonIndex();
  const scratch = await mkdtemp(`${await store.temporary()}-`);
  const tools: PythonTools = { foundry, epoch: lock.epoch, scratch, pip: index.config, context };
  context.emit({ type: "stage.started", stage, id: stage });
  try {
    const resolved = await resolvePython(requests, tools);
    const wheels = await withSizes(resolved, index, context);
    const builders = await lockBuilders(wheels, tools, index, store);
    context.emit({ type: "stage.done", stage, id: stage, seconds: elapsed() });
    return [...wheels, ...builders].toSorted((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
  } catch (error) {
    context.emit({
      type: "stage.failed",
      stage,
      id: stage,
      message: error instanceof Error ? error.message : String(error),
    });
    throw error;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Order of a lock's wheels: by prefix, installed ones first, then by name. */
export function sortKey({ prefix, buildOf, name }: Pick<LockedWheel, "prefix" | "buildOf" | "name">): string {
  return `${prefix}\0${buildOf ?? ""}\0${name}`;
}

/** What builds the source distributions: what they say themselves, then what their backend asks for besides. */
async function lockBuilders(
  wheels: readonly LockedWheel[],
  tools: PythonTools,
  index: PythonIndex,
  store: Store,
): Promise<LockedWheel[]> {
  const sources = wheels.filter(({ kind }) => kind === "sdist");
  if (sources.length === 0) return [];
  await fetchWheels(sources, store, tools);
  let builders: LockedWheel[] = [];
  let asked = "";
  // Ends: a backend that asks for nothing new is asked once more and not again.
  for (let round = 0; round < 3; round++) {
    const plan = join(tools.scratch, `plan-${round}`);
    const objects = objectsDirectory(store);
    await writeFile(
      plan,
      pythonPlan([...sources, ...builders], [], (sha256) => relative(objects, store.path(sha256))),
    );
    const requirements = await buildRequirements(plan, objects, tools);
    if (JSON.stringify(requirements) === asked) break;
    asked = JSON.stringify(requirements);
    const wanted = sources.map((wheel) => ({ wheel, requirements: requirements[wheel.name] ?? [] }));
    builders = await withSizes(await resolveBuilders(wanted, tools), index, tools.context);
    await fetchWheels(builders, store, tools);
  }
  return builders;
}

async function fetchWheels(wheels: readonly LockedWheel[], store: Store, { context }: PythonTools): Promise<void> {
  const objects = wheels.map(({ name, version, sha256, sizeBytes }) => {
    return { name, version, sha256, sizeBytes, kind: "wheel" as const };
  });
  const sources = async () => ({
    ...(await acquireSources([], context.signal)),
    origins: wheelOrigins(wheels, context.signal),
  });
  await acquire(objects, sources, store, context);
}

async function withSizes(
  wheels: readonly ResolvedWheel[],
  index: PythonIndex,
  { signal }: RunContext,
): Promise<LockedWheel[]> {
  const sizes = new Map<string, number>();
  await forEachLimit(wheels, 8, async ({ name, filename, sha256 }) => {
    const [place] = await index.places(name, filename, sha256, signal);
    const size = place === undefined ? undefined : await announcedSize({ ...place, signal });
    if (size === undefined || !(size > 0)) {
      throw new KubedosError("failed", `the Python index does not say how long ${filename} is`, {
        hint: "use an index that sends Content-Length, or put the file into a directory that pip's find-links names",
      });
    }
    sizes.set(sha256, size);
  });
  return wheels.map(({ prefix, name, version, filename, kind, sha256, buildOf }) => ({
    prefix,
    name,
    version,
    filename,
    kind,
    sizeBytes: sizes.get(sha256)!,
    sha256,
    ...(buildOf === undefined ? {} : { buildOf }),
  }));
}

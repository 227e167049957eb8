import { statfs } from "node:fs/promises";
import { KubedosError } from "../../shared/error.ts";
import { stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { findMirrors } from "../lock/lock.ts";
import type { Store } from "../store/store.ts";
import { fetchAll, inParallel } from "./fetch-all.ts";
import { formatBytes, offlineError } from "./messages.ts";
import type { AcquireSources, Wanted } from "./places.ts";
import { httpSettingsOf } from "./transport.ts";

/** What an acquisition did. */
export interface AcquireResult {
  /** Objects that were fetched, and their size in bytes; the others were in the store. */
  fetched: number;
  fetchedBytes: number;
  /** Names of objects that were found damaged in the store and fetched again. */
  repaired: string[];
}

const stage = "acquire";
const parallel = 8;

/** The mirrors of a spec (empty list: of the host's apt), reached the way the host's apt reaches them. */
export async function acquireSources(listed: readonly string[], signal?: AbortSignal): Promise<AcquireSources> {
  const { host, mirrors } = await findMirrors(listed, signal);
  return { mirrors, http: await httpSettingsOf(host) };
}

/**
 * Brings contents that a lock names into the store. The only online stage: it fetches exactly the bytes that the lock
 * names and the store lacks. On abort only `.part` files stay behind, which the next run continues.
 *
 * @param sources mirrors, or a function that finds them; only called when something is missing
 * @throws KubedosError code "offline" that lists what is missing; code "failed" that names package, URL and reason
 */
export async function acquire(
  entries: readonly Wanted[],
  sources: AcquireSources | (() => Promise<AcquireSources>),
  store: Store,
  context: RunContext,
): Promise<AcquireResult> {
  const { emit, signal } = context;
  const seconds = stopwatch();
  const lease = await store.lease(signal);
  try {
    // 1. What is missing
    const wanted = [...new Map(entries.map((entry) => [entry.sha256, entry])).values()];
    const { missing, repaired } = await findMissing(wanted, store, context);
    if (missing.length === 0) {
      emit({ type: "stage.cached", stage, id: stage });
      return { fetched: 0, fetchedBytes: 0, repaired: [] };
    }
    if (context.offline) throw offlineError(missing);
    const totalBytes = missing.reduce((sum, entry) => sum + entry.sizeBytes, 0);
    await needSpace(store, totalBytes);

    // 2. Fetch it
    emit({ type: "stage.started", stage, id: stage });
    try {
      await fetchAll(missing, typeof sources === "function" ? await sources() : sources, store, context, totalBytes);
    } catch (error) {
      emit({ type: "stage.failed", stage, id: stage, message: error instanceof Error ? error.message : String(error) });
      throw error;
    }
    emit({ type: "stage.done", stage, id: stage, seconds: seconds(), sizeBytes: totalBytes });
    return { fetched: missing.length, fetchedBytes: totalBytes, repaired };
  } catch (error) {
    if (signal.aborted) throw new KubedosError("interrupted", "interrupted while fetching", { cause: error });
    throw error;
  } finally {
    await lease.release();
  }
}

/** Packages that the store lacks or holds damaged. */
async function findMissing(
  wanted: readonly Wanted[],
  store: Store,
  context: RunContext,
): Promise<{ missing: Wanted[]; repaired: string[] }> {
  const results = new Map<Wanted, string>();
  await inParallel(wanted, parallel, async (entry) => {
    context.signal.throwIfAborted();
    results.set(entry, await store.verify(entry.sha256, { sizeBytes: entry.sizeBytes }));
  });
  const repaired = wanted.filter((entry) => results.get(entry) === "damaged").map((entry) => entry.name);
  for (const name of repaired) {
    context.emit({ type: "log", level: "warn", message: `${name} was damaged in the store and is fetched again` });
  }
  return { missing: wanted.filter((entry) => results.get(entry) !== "ok"), repaired };
}

async function needSpace(store: Store, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(store.directory);
  const free = bavail * bsize;
  if (free > bytes) return;
  throw new KubedosError("failed", `${store.directory}: ${formatBytes(bytes)} to fetch, ${formatBytes(free)} free`, {
    hint: "make room (`kubedos store gc`), or set KUBEDOS_CACHE to a larger disk",
  });
}

import { setMaxListeners } from "node:events";
import { mkdir, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { KubedosError, type Problem } from "../../shared/error.ts";
import { delay, nowMs, stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { createHttpClient, type HttpClient, type HttpSettings } from "../host/http.ts";
import { takeExclusive } from "../host/lease.ts";
import { fileUrl, type Mirrors } from "../lock/mirrors.ts";
import { findMirrors } from "../lock/lock.ts";
import type { LockedPackage } from "../lock/types.ts";
import type { Store } from "../store/store.ts";
import { fetchFile, type FetchOutcome } from "./download.ts";
import { formatBytes, offlineError } from "./messages.ts";
import { httpSettingsOf } from "./transport.ts";

/** Where to fetch from, and how to reach it. */
export interface AcquireSources {
  mirrors: Mirrors;
  http: HttpSettings;
  /** Give a mirror up after this time without a byte. Default 30 s. */
  stallTimeoutMs?: number;
  /** Wait before the second try at a mirror; twice that before the third. Default 0.5 s. */
  retryDelayMs?: number;
}

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
const triesPerMirror = 3;
const defaultRetryDelayMs = 500;
const defaultStallTimeoutMs = 30_000;
const progressIntervalMs = 100;

/** The mirrors of a spec (empty list: of the host's apt), reached the way the host's apt reaches them. */
export async function acquireSources(listed: readonly string[], signal?: AbortSignal): Promise<AcquireSources> {
  const { host, mirrors } = await findMirrors(listed, signal);
  return { mirrors, http: await httpSettingsOf(host) };
}

/**
 * Brings every package of a lock into the store. The only online stage: it fetches exactly the bytes that the lock
 * names and the store lacks. On abort only `.part` files stay behind, which the next run continues.
 *
 * @param sources mirrors, or a function that finds them; only called when something is missing
 * @throws KubedosError code "offline" that lists what is missing; code "failed" that names package, URL and reason
 */
export async function acquire(
  packages: readonly LockedPackage[],
  sources: AcquireSources | (() => Promise<AcquireSources>),
  store: Store,
  context: RunContext,
): Promise<AcquireResult> {
  const { emit, signal } = context;
  const seconds = stopwatch();
  const lease = await store.lease(signal);
  try {
    // 1. What is missing
    const wanted = [...new Map(packages.map((entry) => [entry.sha256, entry])).values()];
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
    if (signal.aborted) throw new KubedosError("interrupted", "interrupted while fetching packages", { cause: error });
    throw error;
  } finally {
    await lease.release();
  }
}

/** Packages that the store lacks or holds damaged. */
async function findMissing(
  wanted: readonly LockedPackage[],
  store: Store,
  context: RunContext,
): Promise<{ missing: LockedPackage[]; repaired: string[] }> {
  const results = new Map<LockedPackage, string>();
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

/** Fetches with several connections. A file that no mirror has does not stop the others: all of them are reported. */
async function fetchAll(
  missing: readonly LockedPackage[],
  sources: AcquireSources,
  store: Store,
  context: RunContext,
  totalBytes: number,
): Promise<void> {
  const client = createHttpClient(sources.http, parallel);
  const stop = new AbortController();
  const signal = AbortSignal.any([context.signal, stop.signal]);
  setMaxListeners(0, signal); // every request and file listens to it
  const progress = progressOf(context, totalBytes);
  const health = new Map<string, number>();
  const absent: Problem[] = [];
  // The largest first, so that no connection ends alone with one large file.
  const queue = missing.toSorted((a, b) => b.sizeBytes - a.sizeBytes);
  try {
    await inParallel(queue, parallel, async (entry) => {
      signal.throwIfAborted();
      try {
        const problem = await fetchOne(entry, { client, sources, store, signal, health, progress, context });
        if (problem !== undefined) absent.push(problem);
      } catch (error) {
        stop.abort(error);
        throw error;
      }
    });
  } catch (error) {
    // The first failure ended the others through `stop`: that one is the reason.
    throw stop.signal.aborted ? stop.signal.reason : error;
  } finally {
    client.close();
  }
  progress.flush();
  if (absent.length > 0) {
    throw new KubedosError(
      "failed",
      absent
        .map((problem) => problem.message)
        .toSorted()
        .join("\n"),
      {
        hint: "use a capsule, a snapshot URL in platform.mirror, or `kubedos lock --update`",
        problems: absent,
      },
    );
  }
}

interface FetchSession {
  client: HttpClient;
  sources: AcquireSources;
  store: Store;
  signal: AbortSignal;
  /** Consecutive failures without a byte, per base URL. */
  health: Map<string, number>;
  progress: ReturnType<typeof progressOf>;
  context: RunContext;
}

/**
 * Fetches one file, trying the mirrors in order. Returns a problem when every mirror says that it has no such file.
 *
 * @throws KubedosError when it cannot be had for another reason
 */
async function fetchOne(entry: LockedPackage, session: FetchSession): Promise<Problem | undefined> {
  const { store, signal, health, sources, progress } = session;
  const part = store.partPath(entry.sha256);
  await mkdir(dirname(part), { recursive: true });
  const lease = await takeExclusive(`${part}.lease`, signal);
  try {
    if ((await store.verify(entry.sha256, { sizeBytes: entry.sizeBytes })) === "ok") {
      progress.set(entry.sha256, entry.sizeBytes); // another process was faster
      return undefined;
    }
    const listed = sources.mirrors[entry.archive] ?? [];
    const isSick = (base: string) => Number((health.get(base) ?? 0) >= triesPerMirror);
    const bases = listed.toSorted((a, b) => isSick(a) - isSick(b));
    const outcomes: FetchOutcome[] = [];
    for (const base of bases) {
      const outcome = await fetchFrom(base, entry, part, session);
      if (outcome.kind === "done") {
        await store.putFile(part, entry.sha256);
        return undefined;
      }
      outcomes.push(outcome);
      if (base !== bases.at(-1)) {
        session.context.emit({
          type: "log",
          level: "warn",
          message: `${entry.name}: ${outcome.detail}; trying the next mirror`,
        });
      }
    }
    return explain(entry, outcomes);
  } finally {
    await lease.release();
  }
}

/** Up to three tries at one mirror; a broken transfer is continued where it stopped. */
async function fetchFrom(
  base: string,
  entry: LockedPackage,
  part: string,
  session: FetchSession,
): Promise<FetchOutcome> {
  const { client, sources, signal, health, progress } = session;
  let outcome: FetchOutcome = { kind: "broken", detail: `${base}: not tried` };
  for (let attempt = 1; attempt <= triesPerMirror; attempt++) {
    let moved = false;
    const start = progress.of(entry.sha256);
    outcome = await fetchFile(client, {
      url: new URL(fileUrl(base, entry.path)),
      sha256: entry.sha256,
      sizeBytes: entry.sizeBytes,
      part,
      stallMs: sources.stallTimeoutMs ?? defaultStallTimeoutMs,
      signal,
      onPosition(bytes) {
        moved ||= bytes > start;
        progress.set(entry.sha256, bytes);
      },
    });
    if (outcome.kind === "done" || outcome.kind === "absent") {
      health.set(base, 0);
      return outcome;
    }
    // A part of an earlier run may have been the bad one: only a file that came whole from here speaks against it.
    if (outcome.kind === "wrong" && !outcome.continued) return outcome;
    health.set(base, moved ? 0 : (health.get(base) ?? 0) + 1);
    if ((health.get(base) ?? 0) >= triesPerMirror) return outcome; // do not wait for a dead mirror with every file
    if (attempt < triesPerMirror) await delay((sources.retryDelayMs ?? defaultRetryDelayMs) * attempt, signal);
  }
  return outcome;
}

function explain(entry: LockedPackage, outcomes: readonly FetchOutcome[]): Problem {
  const what = `${entry.name} ${entry.version}`;
  if (outcomes.length === 0) {
    throw new KubedosError("failed", `${what}: no mirror of the ${entry.archive} archive is known`, {
      hint: "write one in the spec, for example\n  platform:\n    mirror: [http://deb.debian.org/debian]",
    });
  }
  const details = outcomes.map((outcome) => (outcome.kind === "done" ? "" : outcome.detail));
  if (outcomes.every((outcome) => outcome.kind === "absent")) {
    return { message: `the mirror no longer has ${what} (${details.join("; ")})` };
  }
  const altered = outcomes.some((outcome) => outcome.kind === "wrong");
  throw new KubedosError("failed", `cannot fetch ${what}\n${details.map((detail) => `  | ${detail}`).join("\n")}`, {
    hint: altered
      ? "the mirror's file is not the one that was locked: use another mirror in platform.mirror, or find out who altered it"
      : "check the network, the proxy in apt's configuration, and platform.mirror; what came is kept: run it again to go on",
  });
}

/** Sums positions of all files and reports at most ten times a second. */
function progressOf(context: RunContext, total: number) {
  const positions = new Map<string, number>();
  let done = 0;
  let reportedAt = 0;
  const report = () => context.emit({ type: "stage.progress", stage, done, total, unit: "bytes" });
  return {
    of: (file: string) => positions.get(file) ?? 0,
    set(file: string, bytes: number) {
      done += bytes - (positions.get(file) ?? 0);
      positions.set(file, bytes);
      const now = nowMs();
      if (now - reportedAt < progressIntervalMs) return;
      reportedAt = now;
      report();
    },
    flush: report,
  };
}

/** Runs `work` for every item, `limit` at a time; ends when all that started have ended, with the first error. */
async function inParallel<T>(items: readonly T[], limit: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const workers = Array.from({ length: Math.min(limit, items.length) }, async () => {
    for (const item of queue) await work(item);
  });
  const failed = (await Promise.allSettled(workers)).find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

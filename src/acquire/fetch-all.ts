import { setMaxListeners } from "node:events";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { KubedosError, type Problem } from "../../shared/error.ts";
import { delay, nowMs } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { createHttpClient, type HttpClient } from "../host/http.ts";
import { takeExclusive } from "../host/lease.ts";
import { fileUrl } from "../lock/mirrors.ts";
import type { Store } from "../store/store.ts";
import { fetchFile, type FetchOutcome } from "./download.ts";
import type { AcquireSources, Place, Wanted } from "./places.ts";

const stage = "acquire";
const parallel = 8;
const triesPerMirror = 3;
const defaultRetryDelayMs = 500;
const defaultStallTimeoutMs = 30_000;
const progressIntervalMs = 100;

/** Fetches with several connections. A file that no mirror has does not stop the others: all of them are reported. */
export async function fetchAll(
  missing: readonly Wanted[],
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
        hint: "`kubedos store import` a capsule that holds it, put a snapshot URL in platform.mirror, or `kubedos lock --update`",
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
async function fetchOne(entry: Wanted, session: FetchSession): Promise<Problem | undefined> {
  const { store, signal, health, sources, progress } = session;
  const part = store.partPath(entry.sha256);
  await mkdir(dirname(part), { recursive: true });
  const lease = await takeExclusive(`${part}.lease`, signal);
  try {
    if ((await store.verify(entry.sha256, { sizeBytes: entry.sizeBytes })) === "ok") {
      progress.set(entry.sha256, entry.sizeBytes); // another process was faster
      return undefined;
    }
    const isSick = ({ base }: Place) => Number((health.get(base) ?? 0) >= triesPerMirror);
    const places = (await placesOf(entry, session)).toSorted((a, b) => isSick(a) - isSick(b));
    const outcomes: FetchOutcome[] = [];
    for (const place of places) {
      const outcome = await fetchFrom(place, entry, part, session);
      if (outcome.kind === "done") {
        await store.putFile(part, entry.sha256);
        return undefined;
      }
      outcomes.push(outcome);
      if (place !== places.at(-1)) {
        session.context.emit({
          type: "log",
          level: "warn",
          message: `${entry.name}: ${outcome.detail}; trying the next mirror`,
        });
      }
    }
    return explain(entry, outcomes, sources);
  } finally {
    await lease.release();
  }
}

/** @throws KubedosError when nothing says where the content is to be had */
async function placesOf(entry: Wanted, { sources, client }: FetchSession): Promise<Place[]> {
  if ("archive" in entry) {
    const mirrors = sources.mirrors[entry.archive] ?? [];
    return mirrors.map((base) => ({ base, url: new URL(fileUrl(base, entry.path)), client }));
  }
  const origin = sources.origins?.get(entry.sha256);
  if (origin === undefined) {
    throw new KubedosError("failed", `${nameOf(entry)}: nothing says where it comes from`, {
      hint: "the spec no longer asks for it: run `kubedos lock --update`, or `kubedos store import` a capsule that holds it",
    });
  }
  return origin.places();
}

function nameOf({ name, version }: Wanted): string {
  return version === "" ? name : `${name} ${version}`;
}

/** Up to three tries at one mirror; a broken transfer is continued where it stopped. */
async function fetchFrom(place: Place, entry: Wanted, part: string, session: FetchSession): Promise<FetchOutcome> {
  const { sources, signal, health, progress } = session;
  const { base, url, client, headers } = place;
  let outcome: FetchOutcome = { kind: "broken", detail: `${base}: not tried` };
  for (let attempt = 1; attempt <= triesPerMirror; attempt++) {
    let moved = false;
    const start = progress.of(entry.sha256);
    outcome = await fetchFile(client, {
      url,
      headers,
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

function explain(entry: Wanted, outcomes: readonly FetchOutcome[], sources: AcquireSources): Problem {
  const what = nameOf(entry);
  const where = ("archive" in entry ? undefined : sources.origins?.get(entry.sha256)?.where) ?? "the mirror";
  if (outcomes.length === 0 && "archive" in entry) {
    throw new KubedosError("failed", `${what}: no mirror of the ${entry.archive} archive is known`, {
      hint: "write one in the spec, for example\n  platform:\n    mirror: [http://deb.debian.org/debian]",
    });
  }
  const details = outcomes.map((outcome) => (outcome.kind === "done" ? "" : outcome.detail));
  if (outcomes.every((outcome) => outcome.kind === "absent")) {
    const places = details.length > 0 ? ` (${details.join("; ")})` : "";
    return { message: `${where} no longer has ${what}${places}` };
  }
  const altered = outcomes.some((outcome) => outcome.kind === "wrong");
  throw new KubedosError("failed", `cannot fetch ${what}\n${details.map((detail) => `  | ${detail}`).join("\n")}`, {
    hint: altered
      ? `${where}'s file is not the one that was locked: use another place, a capsule, or find out who altered it`
      : "check the network, the proxy in apt's configuration, and the places in the spec; what came is kept: run it again to go on",
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
export async function inParallel<T>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  const workers = Array.from({ length: Math.min(limit, items.length) }, async () => {
    for (const item of queue) await work(item);
  });
  const failed = (await Promise.allSettled(workers)).find((result) => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

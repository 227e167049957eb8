import { readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { nowMs } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { sharedHolders, takeExclusive } from "../host/lease.ts";
import { isLeftover } from "../host/unique.ts";
import { listActions, removeAction } from "./actions.ts";
import { isRunning, listUnpacked, removeUnpacked, unpackedBytes } from "./unpacked.ts";
import { gcLease, lastUseMs, listObjects, useLeases, type Store } from "./store.ts";

export interface GcOptions {
  /** Keep what was used within this many days. Default 30. */
  olderThanDays?: number;
  /** Then remove what was used longest ago, until objects, roots and trees take no more bytes of the disk than this. */
  maxBytes?: number;
  /** With `maxBytes`: what was used since then stays, even if that is more. Milliseconds since 1970. */
  spareSinceMs?: number;
  /** Say what would be removed, and remove nothing. */
  dryRun?: boolean;
  /** Hashes that stay whatever their age, for example those of a lock. */
  keep?: Iterable<string>;
}

export interface GcResult {
  removedObjects: number;
  removedBytes: number;
  removedActions: number;
  keptObjects: number;
  keptBytes: number;
  /** Foundry roots and unpacked trees. */
  removedDirectories: number;
  keptDirectories: number;
}

/** An object (`sha256`) or something unpacked from objects. */
interface Item {
  sha256?: string;
  directory?: string;
  usedMs: number;
  sizeBytes: number;
  /** What it takes on the disk: images have holes. */
  diskBytes: number;
}

const dayMs = 24 * 3600_000;
const temporaryAgeMs = dayMs;
const limitCheckMs = 600_000;
const spareMs = 3600_000;
/** Unit of st_blocks, stat(2). */
const blockBytes = 512;

/**
 * Removes what was not used for a while: actions, objects that no remaining action refers to, foundry roots and
 * trees, and what interrupted runs left half-written; and what is beyond a size, if one is given.
 *
 * @throws KubedosError when a running process uses the store
 */
export async function collectGarbage(
  store: Store,
  options: GcOptions,
  context: Pick<RunContext, "signal">,
): Promise<GcResult> {
  const { olderThanDays = 30, dryRun = false } = options;
  if (!(olderThanDays >= 0)) throw new KubedosError("usage", `not a number of days: ${olderThanDays}`);
  const root = join(store.directory, "store");
  const lease = await takeExclusive(gcLease(root), context.signal);
  try {
    const users = await sharedHolders(useLeases(root));
    if (users.length > 0) {
      throw new KubedosError("failed", `the store is in use by pid ${[...new Set(users)].join(", ")}`, {
        hint: "wait until that build has ended, or stop it; nothing was removed",
      });
    }
    const horizonMs = nowMs() - olderThanDays * dayMs;

    // 1. What stays for its age, or for a used action that refers to it
    const actions = await listActions(store);
    const kept = new Set(options.keep);
    for (const { record, usedMs } of actions) {
      if (record === undefined || usedMs < horizonMs) continue;
      for (const output of Object.values(record.outputs)) kept.add(output.sha256);
    }
    const items = await listItems(store, context.signal);
    const isNeeded = (item: Item) => item.usedMs >= horizonMs || (item.sha256 !== undefined && kept.has(item.sha256));
    const stays = items.filter(isNeeded);
    const goes = items.filter((item) => !isNeeded(item));

    // 2. What is too much of that
    if (options.maxBytes !== undefined) {
      const pinned = new Set(options.keep);
      const { spareSinceMs = Number.POSITIVE_INFINITY } = options;
      let takenBytes = stays.reduce((sum, item) => sum + item.diskBytes, 0);
      for (const item of stays.toSorted((a, b) => a.usedMs - b.usedMs)) {
        if (takenBytes <= options.maxBytes || item.usedMs >= spareSinceMs) break;
        if (item.sha256 !== undefined && pinned.has(item.sha256)) continue;
        takenBytes -= item.diskBytes;
        goes.push(item);
      }
    }

    // 3. Removal, but for the trees that containers run on
    const gone = new Set<Item>();
    for (const item of goes) {
      context.signal.throwIfAborted();
      if (item.directory !== undefined && (await isRunning(item.directory))) continue;
      gone.add(item);
      if (dryRun) continue;
      if (item.sha256 !== undefined) await store.remove(item.sha256);
      if (item.directory !== undefined) await removeUnpacked(item.directory);
    }
    const lost = new Set([...gone].map((item) => item.sha256));
    let removedActions = 0;
    for (const { id, record, usedMs } of actions) {
      const outputs = Object.values(record?.outputs ?? {});
      if (record !== undefined && usedMs >= horizonMs && !outputs.some((output) => lost.has(output.sha256))) continue;
      removedActions++;
      if (!dryRun) await removeAction(store, id);
    }
    if (!dryRun) await removeOldTemporaries(join(root, "tmp"));
    const count = (of: Iterable<Item>) => [...of].filter((item) => item.sha256 !== undefined);
    const removed = count(gone);
    const remaining = count(items.filter((item) => !gone.has(item)));
    const bytes = (of: Item[]) => of.reduce((sum, item) => sum + item.sizeBytes, 0);
    return {
      removedObjects: removed.length,
      removedBytes: bytes([...gone]),
      removedActions,
      keptObjects: remaining.length,
      keptBytes: bytes(remaining),
      removedDirectories: gone.size - removed.length,
      keptDirectories: items.length - gone.size - remaining.length,
    };
  } finally {
    await lease.release();
  }
}

/**
 * Brings a store that has grown over its limit back under it, what was used longest ago first. What was used in the
 * last hour stays: a build's result is not yet in the hands of who asked for it. Looks at most every ten minutes, and
 * does nothing while another process uses the store: the next one will.
 *
 * @returns undefined when nothing was removed
 */
export async function keepWithinLimit(
  store: Store,
  limitBytes: number,
  context: Pick<RunContext, "signal">,
): Promise<GcResult | undefined> {
  const stamp = join(store.directory, "store", "limit-checked");
  const checked = await stat(stamp).catch(() => undefined);
  if (checked !== undefined && nowMs() - checked.mtimeMs < limitCheckMs) return undefined;
  await writeFile(stamp, "");
  const takenBytes = (await listItems(store, context.signal)).reduce((sum, item) => sum + item.diskBytes, 0);
  if (takenBytes <= limitBytes) return undefined;
  if ((await sharedHolders(useLeases(join(store.directory, "store")))).length > 0) return undefined;
  return collectGarbage(store, { maxBytes: limitBytes, spareSinceMs: nowMs() - spareMs }, context);
}

async function listItems(store: Store, signal: AbortSignal): Promise<Item[]> {
  const items: Item[] = [];
  for (const sha256 of await listObjects(store)) {
    const info = await stat(store.path(sha256)).catch(() => undefined);
    if (info === undefined) continue; // damaged, and removed meanwhile
    const usedMs = await lastUseMs(store, sha256);
    items.push({ sha256, usedMs, sizeBytes: info.size, diskBytes: info.blocks * blockBytes });
  }
  for (const unpacked of await listUnpacked(store)) {
    signal.throwIfAborted();
    const diskBytes = await unpackedBytes(unpacked, signal);
    items.push({ ...unpacked, sizeBytes: diskBytes, diskBytes });
  }
  return items;
}

/**
 * Reads every object again. Damaged ones are removed and named; the next `acquire` or build brings them back.
 * Progress goes to the stage `store verify`, in bytes.
 */
export async function verifyAll(
  store: Store,
  context: Pick<RunContext, "emit" | "signal">,
): Promise<{ checked: number; checkedBytes: number; damaged: string[] }> {
  const stage = "store verify";
  const objects = await listObjects(store);
  const sizes = await Promise.all(objects.map(async (sha256) => (await store.size(sha256)) ?? 0));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const damaged: string[] = [];
  let done = 0;
  for (const [index, sha256] of objects.entries()) {
    context.signal.throwIfAborted();
    const result = await store.verify(sha256, { reread: true });
    if (result === "damaged") {
      damaged.push(sha256);
      context.emit({ type: "log", level: "warn", message: `damaged and removed: ${sha256}` });
    }
    done += sizes[index]!;
    context.emit({ type: "stage.progress", stage, done, total, unit: "bytes" });
  }
  return { checked: objects.length, checkedBytes: total, damaged };
}

/** Removes what killed builds left half-written; files of living processes and resumable downloads stay. */
export async function removeLeftovers(store: Store): Promise<void> {
  await sharedHolders(useLeases(join(store.directory, "store"))); // removes the void ones
  const directory = join(store.directory, "store", "tmp");
  for (const name of await readdir(directory)) {
    if (isLeftover(name)) await rm(join(directory, name), { force: true, recursive: true, maxRetries: 3 });
  }
}

async function removeOldTemporaries(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const file = join(directory, name);
    const info = await stat(file).catch(() => undefined);
    if (info !== undefined && nowMs() - info.mtimeMs > temporaryAgeMs) await rm(file, { force: true, recursive: true });
  }
}

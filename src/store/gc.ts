import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { nowMs } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { sharedHolders, takeExclusive } from "../host/lease.ts";
import { isLeftover } from "../host/unique.ts";
import { listActions, removeAction } from "./actions.ts";
import { diskBytes, isRunning, listUnpacked, removeUnpacked } from "./unpacked.ts";
import { gcLease, lastUseMs, listObjects, useLeases, type Store } from "./store.ts";

export interface GcOptions {
  /** Objects and actions that were used within this many days stay. Default 30. */
  olderThanDays?: number;
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

const dayMs = 24 * 3600_000;
const temporaryAgeMs = dayMs;

/**
 * Removes what was not used for a while: actions, objects that no remaining action refers to, foundry roots and
 * trees, and what interrupted runs left half-written.
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
    const kept = new Set(options.keep);
    const result: GcResult = {
      removedObjects: 0,
      removedBytes: 0,
      removedActions: 0,
      keptObjects: 0,
      keptBytes: 0,
      removedDirectories: 0,
      keptDirectories: 0,
    };

    // 1. Actions, and what the remaining ones refer to
    for (const { id, record, usedMs } of await listActions(store)) {
      if (record !== undefined && usedMs >= horizonMs) {
        for (const output of Object.values(record.outputs)) kept.add(output.sha256);
        continue;
      }
      result.removedActions++;
      if (!dryRun) await removeAction(store, id);
    }

    // 2. Objects
    for (const sha256 of await listObjects(store)) {
      context.signal.throwIfAborted();
      const sizeBytes = (await store.size(sha256)) ?? 0;
      if (kept.has(sha256) || (await lastUseMs(store, sha256)) >= horizonMs) {
        result.keptObjects++;
        result.keptBytes += sizeBytes;
        continue;
      }
      result.removedObjects++;
      result.removedBytes += sizeBytes;
      if (!dryRun) await store.remove(sha256);
    }

    // 3. What was unpacked from objects, but for the trees that containers run on
    for (const { directory, usedMs } of await listUnpacked(store)) {
      context.signal.throwIfAborted();
      const sizeBytes = await diskBytes(directory, context.signal);
      if (usedMs >= horizonMs || (await isRunning(directory))) {
        result.keptDirectories++;
        result.keptBytes += sizeBytes;
        continue;
      }
      result.removedDirectories++;
      result.removedBytes += sizeBytes;
      if (!dryRun) await removeUnpacked(directory);
    }

    // 4. Leftovers
    if (!dryRun) await removeOldTemporaries(join(root, "tmp"));
    return result;
  } finally {
    await lease.release();
  }
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

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { nameFullDisk } from "../host/disk.ts";
import { takeExclusive } from "../host/lease.ts";
import { run } from "../host/run.ts";
import { requireTools } from "../host/tools.ts";
import type { Lock, LockedPackage } from "../lock/types.ts";
import type { Store } from "../store/store.ts";
import { noteUse } from "../store/unpacked.ts";
import { forEachLimit } from "./parallel.ts";

/** The foundry root: where every build tool runs. */
export interface Foundry {
  directory: string;
  /** sha256 over its packages: part of the id of every stage that runs in it. */
  id: string;
}

const layoutVersion = 2;
/** Mount points of the sandbox (see src/host/sandbox.sh). */
const mountPoints = ["in", "out", "scripts", "work", "tmp", "run", "proc", "dev"];
/** Links that maintainer scripts would have made (update-alternatives). */
const links = { "usr/bin/awk": "mawk" };

function foundryId(lock: Lock): string {
  const hashes = lock.foundry.map((item) => item.sha256).toSorted();
  return createHash("sha256")
    .update(JSON.stringify([layoutVersion, hashes]))
    .digest("hex");
}

/** Where the foundry root of a lock is, or will be. */
export function locateFoundry(lock: Lock, store: Store): Foundry {
  const id = foundryId(lock);
  return { directory: join(store.directory, "foundry", id.slice(0, 32)), id };
}

/**
 * Makes the foundry root from locked packages that are in the store. The packages are only extracted: no maintainer
 * script runs, so this needs no root, no chroot and takes seconds.
 */
export async function openFoundry(lock: Lock, store: Store, context: RunContext): Promise<Foundry> {
  const { directory, id } = locateFoundry(lock, store);
  if (existsSync(directory)) {
    await noteUse(directory);
    return { directory, id };
  }
  await mkdir(dirname(directory), { recursive: true });
  const lease = await takeExclusive(`${directory}.lease`, context.signal);
  const partial = `${directory}.partial`;
  try {
    if (existsSync(directory)) return { directory, id };
    await requireTools({ "dpkg-deb": "dpkg" });
    const elapsed = stopwatch();
    context.emit({ type: "stage.started", stage: "foundry", id });
    await removeTree(partial);
    await extractAll(
      lock.foundry,
      store,
      partial,
      (done) =>
        context.emit({ type: "stage.progress", stage: "foundry", done, total: lock.foundry.length, unit: "items" }),
      context.signal,
    );
    for (const name of mountPoints) await mkdir(join(partial, name), { recursive: true });
    for (const [path, target] of Object.entries(links)) await symlink(target, join(partial, path));
    await writeFile(join(partial, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
    await writeFile(join(partial, "etc/group"), "root:x:0:\n");
    await rename(partial, directory);
    await noteUse(directory);
    context.emit({ type: "stage.done", stage: "foundry", id, seconds: elapsed() });
  } catch (error) {
    throw await nameFullDisk(error, store.directory);
  } finally {
    await removeTree(partial);
    await lease.release();
  }
  return { directory, id };
}

/** A dpkg-deb that outlived a killed build may write into the tree for another moment: then it is tried again. */
function removeTree(directory: string): Promise<void> {
  return rm(directory, { recursive: true, force: true, maxRetries: 10 });
}

async function extractAll(
  packages: readonly LockedPackage[],
  store: Store,
  into: string,
  onDone: (count: number) => void,
  signal: AbortSignal,
): Promise<void> {
  // base-files first: it brings the links /bin -> usr/bin that the others extract through.
  const order = packages.toSorted((a, b) => Number(b.name === "base-files") - Number(a.name === "base-files"));
  await mkdir(into, { recursive: true });
  const [first, ...rest] = order;
  if (first === undefined) return;
  let done = 0;
  const extract = async (item: LockedPackage) => {
    await run("dpkg-deb", ["--extract", store.path(item.sha256), into], { signal, timeoutMs: 120_000 });
    onDone(++done);
  };
  await extract(first);
  await forEachLimit(rest, availableParallelism(), extract);
}

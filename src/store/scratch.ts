import { copyFile, link, mkdir, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { nameFullDisk } from "../host/disk.ts";
import { isLeftover, uniqueBeside } from "../host/unique.ts";
import { listActions, writeAction } from "./actions.ts";
import { openStore, type Store } from "./store.ts";

/** A cache of its own, in which nothing is built yet. */
export interface ScratchCache {
  store: Store;
  /** The cache directory; other things may be put beside the store. */
  directory: string;
  remove(): Promise<void>;
}

/**
 * An empty cache inside of another one's directory, with the objects given as links to the other's (copies where the
 * file system has no links). What processes that were killed left behind is removed first.
 *
 * @param hashes objects that the other store has; those that it lacks are left out
 */
export async function makeScratchCache(store: Store, hashes: Iterable<string>): Promise<ScratchCache> {
  const parent = join(store.directory, "scratch");
  for (const name of await readdir(parent).catch((): string[] => [])) {
    if (isLeftover(name)) await rm(join(parent, name), { recursive: true, force: true });
  }
  const directory = uniqueBeside(join(parent, "cache"));
  const remove = () => rm(directory, { recursive: true, force: true, maxRetries: 5 });
  try {
    const own = await openStore(directory);
    for (const hash of new Set(hashes)) await placeObject(store.path(hash), own.path(hash));
    return { store: own, directory, remove };
  } catch (error) {
    const named = await nameFullDisk(error, store.directory);
    await remove();
    throw named;
  }
}

/**
 * Takes over what another cache's stages have made: links (or copies) of their outputs, their records, and the foundry
 * roots, which leave the other cache.
 */
export async function adoptActions(from: Store, to: Store): Promise<void> {
  const roots = "foundry";
  await mkdir(join(to.directory, roots), { recursive: true });
  for (const name of await readdir(join(from.directory, roots)).catch((): string[] => [])) {
    // One that is there already, or a file system of its own: it is unpacked again when it is needed.
    await rename(join(from.directory, roots, name), join(to.directory, roots, name)).catch(() => undefined);
  }
  for (const { id, record } of await listActions(from)) {
    if (record === undefined) continue;
    for (const { sha256 } of Object.values(record.outputs)) await placeObject(from.path(sha256), to.path(sha256));
    await writeAction(to, id, record);
  }
}

/** Puts an object under its name by a link or a copy; one that is missing is left out. */
export async function placeObject(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  try {
    await link(from, to).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") throw error;
      return copyFile(from, to);
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

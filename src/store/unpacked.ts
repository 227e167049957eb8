import { readFile, readdir, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { findNaming } from "../host/processes.ts";
import { run } from "../host/run.ts";
import { touch, type Store } from "./store.ts";

/** Folders of the cache that hold unpacked directories: foundry roots, and root trees of containers. */
const folders = ["foundry", "trees"] as const;

/** A foundry root or an unpacked tree; both can be made again from objects of the store. */
export interface Unpacked {
  directory: string;
  /** When it was made or last opened, milliseconds since 1970. */
  usedMs: number;
}

/** Notes that an unpacked directory is used now. Its own times are the image's, so the note lies beside it. */
export async function noteUse(directory: string): Promise<void> {
  await writeFile(`${directory}.used`, "", { flag: "a" }).catch(() => undefined);
  await touch(`${directory}.used`);
}

/** All unpacked directories of a cache, in order of their paths; those being made are not among them. */
export async function listUnpacked(store: Store): Promise<Unpacked[]> {
  const found: Unpacked[] = [];
  for (const folder of folders) {
    const base = join(store.directory, folder);
    for (const name of (await readdir(base).catch((): string[] => [])).toSorted()) {
      if (!/^[0-9a-f]{32}$/.test(name)) continue;
      const directory = join(base, name);
      const noted = await stat(`${directory}.used`).catch(() => undefined);
      found.push({ directory, usedMs: noted?.mtimeMs ?? (await stat(directory)).ctimeMs });
    }
  }
  return found;
}

/** Whether a living process was started on the directory, as a container is on its tree. */
export async function isRunning(directory: string): Promise<boolean> {
  return (await findNaming(directory)).length > 0;
}

/** Bytes on disk, hard links counted once. */
export async function diskBytes(directory: string, signal: AbortSignal): Promise<number> {
  const { stdout } = await run("du", ["--summarize", "--block-size=1", directory], { signal, timeoutMs: 120_000 });
  return Number(stdout.split("\t")[0]);
}

/** `diskBytes` of an unpacked directory, which never changes: reckoned once and kept in its note. */
export async function unpackedBytes({ directory, usedMs }: Unpacked, signal: AbortSignal): Promise<number> {
  const note = `${directory}.used`;
  const known = Number(await readFile(note, "utf8").catch(() => ""));
  if (known > 0) return known;
  const bytes = await diskBytes(directory, signal);
  await writeFile(note, `${bytes}\n`);
  await utimes(note, usedMs / 1000, usedMs / 1000); // looking at it is not a use
  return bytes;
}

/** Removes one with its note; the name goes first, so that half of it is never taken for the whole. */
export async function removeUnpacked(directory: string): Promise<void> {
  await rm(`${directory}.used`, { force: true });
  await rm(`${directory}.lease`, { force: true });
  const doomed = `${directory}.partial`;
  await rename(directory, doomed);
  await rm(doomed, { recursive: true, force: true, maxRetries: 3 });
}

import { createHash } from "node:crypto";
import { chmod, copyFile, link, mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { nameFullDisk } from "../host/disk.ts";
import { takeExclusive } from "../host/lease.ts";
import type { SpecPaths } from "../host/paths.ts";
import { hashFile, type Store } from "../store/store.ts";

/**
 * Puts objects of the store into the output directory under their names, and then the texts that describe them, in their order. Each
 * file is whole or not there; two builds of one spec publish one after the other.
 */
export async function publishFiles(
  paths: Pick<SpecPaths, "out">,
  files: readonly { path: string; sizeBytes: number; sha256: string }[],
  documents: readonly { name: string; text: string }[],
  store: Store,
  signal: AbortSignal,
): Promise<void> {
  // In the cache, because the output directory may be on a stick that knows no links.
  const turn = createHash("sha256").update(paths.out).digest("hex").slice(0, 16);
  const lease = await takeExclusive(join(store.directory, "actions", `publish-${turn}.lease`), signal);
  try {
    await mkdir(paths.out, { recursive: true });
    for (const file of files) {
      signal.throwIfAborted();
      await place(file, store);
    }
    for (const { name, text } of documents) {
      await writeNew(join(paths.out, name), (temporary) => writeFile(temporary, text));
    }
  } catch (error) {
    throw await nameFullDisk(error, paths.out);
  } finally {
    await lease.release();
  }
}

/** A hard link where the file system allows, else a copy. Read-only. */
async function place(file: { path: string; sizeBytes: number; sha256: string }, store: Store): Promise<void> {
  const object = store.path(file.sha256);
  const [source, target] = await Promise.all([stat(object), stat(file.path).catch(() => undefined)]);
  if (target !== undefined && target.dev === source.dev && target.ino === source.ino) return;
  if (target?.size === file.sizeBytes && target.dev !== source.dev) {
    if ((await hashFile(file.path).catch(() => "")) === file.sha256) return; // a copy of an earlier build
  }
  await writeNew(file.path, async (temporary) => {
    await link(object, temporary).catch(() => copyFile(object, temporary));
    await chmod(temporary, 0o444);
  });
}

/** Writes a file beside its place and moves it there when it is whole. Only under the lease: the name is fixed. */
async function writeNew(path: string, write: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${path}.new`;
  await rm(temporary, { force: true });
  try {
    await write(temporary);
    await rename(temporary, path);
  } catch (error) {
    const named = await nameFullDisk(error, join(path, ".."));
    await rm(temporary, { force: true });
    throw named;
  }
}

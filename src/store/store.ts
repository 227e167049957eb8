import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, mkdir, open, readFile, readdir, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { KubedosError } from "../../shared/error.ts";
import { delay, nowMs } from "../host/clock.ts";
import { nameFullDisk } from "../host/disk.ts";
import { exclusiveHolder, takeShared, type Lease } from "../host/lease.ts";
import { uniqueBeside } from "../host/unique.ts";

/**
 * The content store: every input and every output, found by its sha256.
 *
 *   <cache>/store/sha256/ab/<64 hex digits>   objects, mode 0444
 *   <cache>/store/checked/ab/<64 hex digits>  size and mtime of the object when its bytes were last hashed;
 *                                            its own mtime is the last use of the object
 *   <cache>/store/tmp/                        files on their way in; same file system, so that a rename is enough
 *   <cache>/store/leases/                     processes that use the store now (`gc` refuses to run beside them)
 *   <cache>/actions/<id>.json                 action cache, see actions.ts
 */
export interface Store {
  /** The cache directory. */
  readonly directory: string;
  /** Where an object is or would be. */
  path(sha256: string): string;
  /** A new file name on the store's own file system, for content that goes in with `putFile`. */
  temporary(): Promise<string>;
  /** Whether there is an object of that name (its bytes are not read). */
  has(sha256: string): Promise<boolean>;
  /** Size in bytes, or undefined when the store lacks the object. */
  size(sha256: string): Promise<number | undefined>;
  /**
   * Moves a file in. With `sha256` given, the caller vouches for the hash (it hashed the bytes as it wrote them).
   * The file must be on the store's file system.
   */
  putFile(file: string, sha256?: string): Promise<{ sha256: string; sizeBytes: number }>;
  putBytes(bytes: Uint8Array | string): Promise<{ sha256: string; sizeBytes: number }>;
  /**
   * Whether the object is there, whole, and its bytes have the hash. Bytes are read again only when size or mtime
   * changed since they were last read, or with `reread`. A damaged object is removed.
   */
  verify(sha256: string, options?: { reread?: boolean; sizeBytes?: number }): Promise<VerifyResult>;
  /** Removes an object. Only `gc` does that. */
  remove(sha256: string): Promise<void>;
  /** A file name for the parts of an object on its way in: the same for every process, so that one can go on. */
  partPath(sha256: string): string;
  /** Registers this process as a user of the store until released: `gc` removes nothing meanwhile. Waits for a `gc`. */
  lease(signal?: AbortSignal): Promise<Lease>;
}

export type VerifyResult = "ok" | "missing" | "damaged";

/** Opens the store in a cache directory, making it if needed. */
export async function openStore(cacheDirectory: string): Promise<Store> {
  const root = join(cacheDirectory, "store");
  const objects = join(root, "sha256");
  const temporaries = join(root, "tmp");
  await mkdir(objects, { recursive: true });
  await mkdir(temporaries, { recursive: true });

  function path(sha256: string): string {
    return join(objects, fanOut(sha256));
  }

  function checkedPath(sha256: string): string {
    return join(root, "checked", fanOut(sha256));
  }

  async function size(sha256: string): Promise<number | undefined> {
    try {
      return (await stat(path(sha256))).size;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  async function temporary(): Promise<string> {
    return uniqueBeside(join(temporaries, "new"));
  }

  async function putFile(file: string, sha256?: string): Promise<{ sha256: string; sizeBytes: number }> {
    const hash = sha256 ?? (await hashFile(file));
    const target = path(hash);
    // The bytes must be on the disk before the name says so: a power cut must not leave a hash without its content.
    const handle = await open(file, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    await chmod(file, 0o444);
    await mkdir(dirname(target), { recursive: true });
    await rename(file, target);
    const { size: sizeBytes } = await markChecked(hash);
    return { sha256: hash, sizeBytes };
  }

  async function putBytes(bytes: Uint8Array | string): Promise<{ sha256: string; sizeBytes: number }> {
    const hash = createHash("sha256").update(bytes).digest("hex");
    const sizeBytes = typeof bytes === "string" ? Buffer.byteLength(bytes) : bytes.byteLength;
    if ((await verify(hash, { sizeBytes })) === "ok") return { sha256: hash, sizeBytes };
    const file = await temporary();
    try {
      await writeFile(file, bytes, { flag: "wx" });
      return await putFile(file, hash);
    } catch (error) {
      const named = await nameFullDisk(error, cacheDirectory);
      await rm(file, { force: true });
      throw named;
    }
  }

  async function markChecked(sha256: string): Promise<{ size: number }> {
    const info = await stat(path(sha256));
    const file = checkedPath(sha256);
    await mkdir(dirname(file), { recursive: true });
    const staging = await temporary();
    await writeFile(staging, stamp(info));
    await rename(staging, file);
    return info;
  }

  async function verify(sha256: string, options: { reread?: boolean; sizeBytes?: number } = {}): Promise<VerifyResult> {
    const info = await stat(path(sha256)).catch(() => undefined);
    if (info === undefined) return "missing";
    const wrongSize = options.sizeBytes !== undefined && info.size !== options.sizeBytes;
    if (!wrongSize) {
      if (!options.reread && (await readStamp(checkedPath(sha256))) === stamp(info)) {
        await touch(checkedPath(sha256)); // last use, for gc
        return "ok";
      }
      if ((await hashFile(path(sha256))) === sha256) {
        await markChecked(sha256);
        return "ok";
      }
    }
    // Another process may have put a good object in its place meanwhile: remove only the file that was looked at.
    const now = await stat(path(sha256)).catch(() => undefined);
    if (now?.ino === info.ino) await rm(path(sha256), { force: true });
    return "damaged";
  }

  return {
    directory: cacheDirectory,
    path,
    temporary,
    has: async (sha256) => (await size(sha256)) !== undefined,
    size,
    putFile,
    putBytes,
    verify,
    async remove(sha256) {
      await rm(path(sha256), { force: true });
      await rm(checkedPath(sha256), { force: true });
    },
    partPath: (sha256) => join(temporaries, `${checkHash(sha256)}.part`),
    lease: (signal) => takeUse(root, signal),
  };
}

/** File of the exclusive lease that `gc` holds. */
export function gcLease(storeRoot: string): string {
  return join(storeRoot, "gc.lease");
}

/** Directory of the shared leases of the store's users. */
export function useLeases(storeRoot: string): string {
  return join(storeRoot, "leases");
}

/** Users and `gc` each announce themselves first and look for the other then, so that one of them always sees it. */
async function takeUse(storeRoot: string, signal: AbortSignal | undefined): Promise<Lease> {
  for (;;) {
    signal?.throwIfAborted();
    const lease = await takeShared(useLeases(storeRoot));
    if ((await exclusiveHolder(gcLease(storeRoot))) === undefined) return lease;
    await lease.release();
    await delay(200, signal);
  }
}

/** When an object was last put in or checked, milliseconds since 1970. */
export async function lastUseMs(store: Store, sha256: string): Promise<number> {
  const files = [join(store.directory, "store", "checked", fanOut(sha256)), store.path(sha256)];
  const times = await Promise.all(
    files.map((file) =>
      stat(file).then(
        (info) => info.mtimeMs,
        () => 0,
      ),
    ),
  );
  return Math.max(...times);
}

/** All objects of a store, in order of their hashes. */
export async function listObjects(store: Store): Promise<string[]> {
  const root = join(store.directory, "store", "sha256");
  const hashes: string[] = [];
  for (const prefix of (await readdir(root)).toSorted()) {
    for (const name of (await readdir(join(root, prefix))).toSorted()) {
      if (/^[0-9a-f]{64}$/.test(name)) hashes.push(name);
    }
  }
  return hashes;
}

/** sha256 of a file's bytes, hex. */
export async function hashFile(file: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash, { signal });
  return hash.digest("hex");
}

/** Sets a file's mtime to now: how the store and the action cache remember the last use. */
export async function touch(file: string): Promise<void> {
  const now = nowMs() / 1000;
  await utimes(file, now, now).catch(() => undefined);
}

function fanOut(sha256: string): string {
  return join(checkHash(sha256).slice(0, 2), sha256);
}

/** Hashes become file names: nothing else may. */
function checkHash(sha256: string): string {
  if (!/^[0-9a-f]{64}$/.test(sha256)) {
    throw new KubedosError("failed", `not a sha256: ${JSON.stringify(sha256)}`, {
      hint: "a sha256 is 64 lower-case hexadecimal digits",
    });
  }
  return sha256;
}

function stamp(info: { size: number; mtimeMs: number; ino: number }): string {
  return `${info.size} ${info.mtimeMs} ${info.ino}\n`;
}

async function readStamp(file: string): Promise<string> {
  return readFile(file, "utf8").catch(() => "");
}

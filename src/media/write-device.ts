import { createHash } from "node:crypto";
import { open, type FileHandle } from "node:fs/promises";
import { KubedosError } from "../../shared/error.ts";

const mebibyte = 1024 * 1024;
const chunkBytes = 4 * mebibyte;

/** Something to put on the device after the artifact, e.g. a node's seed. */
export interface Patch {
  offsetBytes: number;
  content: Uint8Array;
}

export interface WriteWork {
  /** Called with the bytes done of all there are to write and to read back. */
  progress: (phase: "writing" | "reading back", done: number, total: number) => void;
  /** Makes the next read come from the device itself. */
  forgetCached: () => Promise<void>;
  signal: AbortSignal;
}

/**
 * Copies a file to an open device, reads it back and compares. The first MiB, with the partition table, comes last: a
 * device that was not finished looks empty. What an earlier partition table left at the device's end goes.
 *
 * @returns sha256 of the file, as written and read back
 * @throws KubedosError when the device takes or gives back something else
 */
export async function writeDevice(
  source: string,
  device: FileHandle,
  deviceBytes: number,
  patches: readonly Patch[],
  work: WriteWork,
): Promise<string> {
  const file = await open(source);
  try {
    const { size } = await file.stat();
    const zero = Buffer.alloc(mebibyte);
    // 1. The old table goes first, the new one comes last.
    await writeAll(device, zero, 0);
    if (deviceBytes >= size + mebibyte) await writeAll(device, zero, deviceBytes - mebibyte);
    await copy(file, device, mebibyte, size, work);
    await flush(device);
    // 2. Read back, from the device itself.
    await work.forgetCached();
    const written = createHash("sha256");
    const found = createHash("sha256");
    const head = await readExactly(file, 0, Math.min(mebibyte, size));
    written.update(head);
    found.update(head);
    for (let at = mebibyte; at < size; at += chunkBytes) {
      work.signal.throwIfAborted();
      const length = Math.min(chunkBytes, size - at);
      written.update(await readExactly(file, at, length));
      found.update(await readExactly(device, at, length));
      work.progress("reading back", Math.min(at + length, size), size);
    }
    const sha256 = written.digest("hex");
    if (found.digest("hex") !== sha256) throw differs();
    // 3. What belongs to one machine, and the partition table.
    for (const { offsetBytes, content } of patches) await writeAll(device, content, offsetBytes);
    if (!patches.some(({ offsetBytes }) => offsetBytes < mebibyte)) await writeAll(device, head, 0);
    await flush(device);
    await work.forgetCached();
    for (const { offsetBytes, content } of [...patches, { offsetBytes: 0, content: head }]) {
      if (!(await readExactly(device, offsetBytes, content.length)).equals(content)) throw differs();
    }
    return sha256;
  } finally {
    await file.close();
  }
}

async function copy(file: FileHandle, device: FileHandle, from: number, size: number, work: WriteWork): Promise<void> {
  for (let at = from; at < size; at += chunkBytes) {
    work.signal.throwIfAborted();
    const length = Math.min(chunkBytes, size - at);
    await writeAll(device, await readExactly(file, at, length), at);
    // Now and then, so that progress means something and the end does not take minutes.
    if ((at / chunkBytes) % 16 < 1) await flush(device);
    work.progress("writing", at + length, size);
  }
}

async function flush(device: FileHandle): Promise<void> {
  try {
    await device.datasync();
  } catch (cause) {
    throw cannotWrite(cause);
  }
}

async function writeAll(device: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  try {
    for (let done = 0; done < bytes.length;) {
      done += (await device.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
    }
  } catch (cause) {
    throw cannotWrite(cause);
  }
}

async function readExactly(handle: FileHandle, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  for (let done = 0; done < length;) {
    const { bytesRead } = await handle.read(bytes, done, length - done, at + done);
    if (bytesRead === 0) throw new KubedosError("failed", `nothing more to read at byte ${at + done}`);
    done += bytesRead;
  }
  return bytes;
}

function cannotWrite(cause: unknown): KubedosError {
  return new KubedosError("failed", `the device cannot be written: ${(cause as Error).message}`, {
    cause,
    hint: "it may be worn out or unplugged; it has no partition table now and looks empty",
  });
}

function differs(): KubedosError {
  return new KubedosError("failed", "the device does not give back what was written", {
    hint: "it may be worn out, or smaller than it says: take another one",
  });
}

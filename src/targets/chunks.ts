import { open, type FileHandle } from "node:fs/promises";
import { KubedosError } from "../../shared/error.ts";

const zeros = Buffer.alloc(1024 * 1024);

/** A piece of an image on its way through. `bytes` is valid until the next piece is asked for. */
export interface Chunk {
  firstByte: number;
  bytes: Buffer;
}

/**
 * The pieces of a disk image in order, each of `chunkBytes` but a shorter last one.
 *
 * @throws KubedosError when the image is empty or no whole number of 512-byte sectors
 */
export async function* readChunks(file: string, chunkBytes: number, signal: AbortSignal): AsyncGenerator<Chunk> {
  const source = await open(file);
  try {
    const buffer = Buffer.alloc(chunkBytes);
    const sizeBytes = await imageSize(file, source);
    for (let firstByte = 0; firstByte < sizeBytes; firstByte += chunkBytes) {
      signal.throwIfAborted();
      const bytes = buffer.subarray(0, Math.min(chunkBytes, sizeBytes - firstByte));
      await readWhole(source, bytes, firstByte, file);
      yield { firstByte, bytes };
    }
  } finally {
    await source.close();
  }
}

/**
 * Size of a disk image in bytes.
 *
 * @throws KubedosError when it is empty or no whole number of 512-byte sectors
 */
export async function imageSize(file: string, handle: FileHandle): Promise<number> {
  const { size } = await handle.stat();
  if (size > 0 && size % 512 === 0) return size;
  throw new KubedosError("failed", `${file} has ${size} bytes: a disk image is a whole number of 512-byte sectors`);
}

/** Fills `bytes` from the file; a file that ends before is an error. */
export async function readWhole(handle: FileHandle, bytes: Buffer, firstByte: number, file: string): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesRead } = await handle.read(bytes, done, bytes.length - done, firstByte + done);
    if (bytesRead === 0)
      throw new KubedosError("failed", `${file} ended at byte ${firstByte + done} while it was read`);
    done += bytesRead;
  }
}

/** Whether there is nothing but zeros. */
export function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const part = bytes.subarray(at, at + zeros.length);
    if (zeros.compare(part, 0, part.length, 0, part.length) !== 0) return false;
  }
  return true;
}

/** Writes all of `bytes` at a place of the file. */
export async function writeWhole(handle: FileHandle, bytes: Uint8Array, firstByte: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, firstByte + done);
    done += bytesWritten;
  }
}

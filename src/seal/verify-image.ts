import { open } from "node:fs/promises";

/** What is wrong, in which structure of a file, and where: byte offset in the file or, for images, in the disk. */
export interface Finding {
  structure: string;
  offsetBytes?: number;
  message: string;
}

/** A disk as its machine sees it. */
export interface DiskImage {
  sizeBytes: number;
  /** Exactly this many bytes; throws past the end. */
  read(offsetBytes: number, lengthBytes: number): Promise<Buffer>;
  close(): Promise<void>;
}

const chunkBytes = 4 * 1024 * 1024;

/** A raw image, or the first `sizeBytes` of a file. */
export async function openRaw(file: string, sizeBytes?: number): Promise<DiskImage> {
  const handle = await open(file);
  const size = sizeBytes ?? (await handle.stat()).size;
  return {
    sizeBytes: size,
    async read(offset, length) {
      const bytes = Buffer.alloc(length);
      let done = 0;
      while (done < length) {
        const { bytesRead } = await handle.read(bytes, done, length - done, offset + done);
        if (bytesRead === 0) throw new Error(`the image ends at byte ${offset + done}`);
        done += bytesRead;
      }
      return bytes;
    },
    close: () => handle.close(),
  };
}

/**
 * A qcow2 image without backing file, encryption and compression, as our own target is.
 * https://www.qemu.org/docs/master/interop/qcow2.html
 */
export async function openQcow2(file: string): Promise<DiskImage> {
  const source = await openRaw(file);
  try {
    return await readQcow2(source);
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function readQcow2(source: DiskImage): Promise<DiskImage> {
  const header = await source.read(0, 104);
  if (header.readUInt32BE(0) !== 0x514649fb) throw new Error("no qcow2 header at byte 0");
  const clusterBits = header.readUInt32BE(20);
  const sizeBytes = Number(header.readBigUInt64BE(24));
  if (header.readBigUInt64BE(8) !== 0n || header.readUInt32BE(32) !== 0 || clusterBits < 9 || clusterBits > 21) {
    throw new Error("a backing file, encryption or cluster size that kubedos never writes (header, byte 8)");
  }
  const clusterBytes = 2 ** clusterBits;
  const entriesPerTable = clusterBytes / 8;
  const tables = Math.ceil(sizeBytes / (clusterBytes * entriesPerTable));
  if (header.readUInt32BE(36) < tables || tables > 2 ** 16) throw new Error("an L1 table too small (header, byte 36)");
  const l1 = await source.read(Number(header.readBigUInt64BE(40)), tables * 8);
  const clusters: bigint[] = [];
  for (let index = 0; index < tables; index++) {
    const at = Number(l1.readBigUInt64BE(index * 8) & 0x00ff_ffff_ffff_fe00n);
    const l2 = at === 0 ? Buffer.alloc(clusterBytes) : await source.read(at, clusterBytes);
    for (let entry = 0; entry < entriesPerTable; entry++) clusters.push(l2.readBigUInt64BE(entry * 8));
  }
  const readCluster = async (index: number, from: number, length: number) => {
    const entry = clusters[index] ?? 0n;
    if ((entry & (1n << 62n)) !== 0n)
      throw new Error(`a compressed cluster at byte ${index * clusterBytes} of the disk`);
    const at = Number(entry & 0x00ff_ffff_ffff_fe00n);
    if (at === 0 || (entry & 1n) === 1n) return Buffer.alloc(length);
    return source.read(at + from, length);
  };
  return {
    sizeBytes,
    async read(offset, length) {
      if (offset + length > sizeBytes) throw new Error(`the image ends at byte ${sizeBytes}`);
      const parts: Buffer[] = [];
      for (let at = offset; at < offset + length;) {
        const from = at % clusterBytes;
        const take = Math.min(clusterBytes - from, offset + length - at);
        parts.push(await readCluster(Math.floor(at / clusterBytes), from, take));
        at += take;
      }
      return Buffer.concat(parts, length);
    },
    close: () => source.close(),
  };
}

/** First byte in which two disks differ, or undefined. */
export async function firstDifference(a: DiskImage, b: DiskImage, signal: AbortSignal): Promise<number | undefined> {
  const common = Math.min(a.sizeBytes, b.sizeBytes);
  for (let at = 0; at < common; at += chunkBytes) {
    signal.throwIfAborted();
    const length = Math.min(chunkBytes, common - at);
    const [left, right] = await Promise.all([a.read(at, length), b.read(at, length)]);
    const index = differenceIn(left, right);
    if (index !== undefined) return at + index;
  }
  return a.sizeBytes === b.sizeBytes ? undefined : common;
}

/** Index of the first byte in which two buffers differ, or undefined. */
export function differenceIn(a: Buffer, b: Buffer): number | undefined {
  if (a.equals(b)) return undefined;
  const common = Math.min(a.length, b.length);
  for (let index = 0; index < common; index++) if (a[index] !== b[index]) return index;
  return common;
}

/** Offsets of the first byte that is not zero in a range of a disk, or undefined. */
export async function firstNonZero(
  image: DiskImage,
  offset: number,
  end: number,
  signal: AbortSignal,
): Promise<number | undefined> {
  const zeros = Buffer.alloc(Math.min(chunkBytes, Math.max(0, end - offset)));
  for (let at = offset; at < end; at += chunkBytes) {
    signal.throwIfAborted();
    const bytes = await image.read(at, Math.min(chunkBytes, end - at));
    const index = differenceIn(bytes, zeros.subarray(0, bytes.length));
    if (index !== undefined) return at + index;
  }
  return undefined;
}

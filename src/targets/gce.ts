import { open } from "node:fs/promises";
import { isZero, readChunks, writeWhole } from "./chunks.ts";
import { oldGnuSparseHeader, tarEnd, tarPadding, type Extent } from "./tar.ts";

/** Compute Engine takes disks of whole GiB. */
const gibibyte = 1024 ** 3;
const chunkBytes = 64 * 1024;

/**
 * Writes the archive that Compute Engine imports, before its compression: one sparse member `disk.raw`, a whole number
 * of GiB long.
 * @see https://cloud.google.com/compute/docs/import/import-existing-image
 */
export async function writeGceTar(raw: string, output: string, epoch: number, signal: AbortSignal): Promise<void> {
  const target = await open(output, "wx");
  try {
    // 1. Where the data is: the header says it first.
    const extents: Extent[] = [];
    let end = 0;
    for await (const { firstByte, bytes } of readChunks(raw, chunkBytes, signal)) {
      end = firstByte + bytes.length;
      if (isZero(bytes)) continue;
      const last = extents.at(-1);
      if (last !== undefined && last.firstByte + last.sizeBytes === firstByte) last.sizeBytes += bytes.length;
      else extents.push({ firstByte, sizeBytes: bytes.length });
    }
    const sizeBytes = Math.ceil(end / gibibyte) * gibibyte;
    const header = oldGnuSparseHeader("disk.raw", sizeBytes, extents, epoch);
    // 2. The data.
    let position = 0;
    const append = async (bytes: Uint8Array) => {
      await writeWhole(target, bytes, position);
      position += bytes.length;
    };
    await append(header);
    for await (const { bytes } of readChunks(raw, chunkBytes, signal)) if (!isZero(bytes)) await append(bytes);
    await append(Buffer.alloc(tarPadding(position)));
    await append(tarEnd);
  } finally {
    await target.close();
  }
}

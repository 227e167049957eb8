import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { isZero, readChunks, writeWhole } from "./chunks.ts";

const mebibyte = 1024 * 1024;
/** Small enough to leave most holes of the image as holes. */
const chunkBytes = 64 * 1024;
const footerBytes = 512;
/** 2000-01-01T00:00:00Z, the format's year zero, in seconds since 1970. */
const formatEpoch = 946_684_800;

/**
 * Writes a fixed VHD: the image's bytes, filled up to a whole number of MiB as Azure wants it, and a footer. Its id
 * comes from the content; runs of zeros are left as holes.
 *
 * "Virtual Hard Disk Image Format Specification", version 1.0.
 * @see https://learn.microsoft.com/azure/virtual-machines/linux/create-upload-generic
 */
export async function writeVhd(raw: string, output: string, epoch: number, signal: AbortSignal): Promise<void> {
  const content = createHash("sha256");
  const target = await open(output, "wx");
  try {
    let end = 0;
    for await (const { firstByte, bytes } of readChunks(raw, chunkBytes, signal)) {
      content.update(bytes);
      if (!isZero(bytes)) await writeWhole(target, bytes, firstByte);
      end = firstByte + bytes.length;
    }
    const sizeBytes = Math.ceil(end / mebibyte) * mebibyte;
    await writeWhole(target, vhdFooter(sizeBytes, epoch, content.digest()), sizeBytes);
  } finally {
    await target.close();
  }
}

/** The footer of a fixed disk; `content` gives the disk its id. */
export function vhdFooter(sizeBytes: number, epoch: number, content: Buffer): Buffer {
  const footer = Buffer.alloc(footerBytes);
  footer.write("conectix", 0, "latin1");
  footer.writeUInt32BE(2, 8); // features: the bit that is always set
  footer.writeUInt32BE(0x0001_0000, 12);
  footer.writeBigUInt64BE(0xffff_ffff_ffff_ffffn, 16); // no dynamic header
  footer.writeUInt32BE(Math.max(0, epoch - formatEpoch), 24);
  // Readers take the size from "current size" only where they know the creator, else from the rounded geometry.
  footer.write("qem2", 28, "latin1");
  footer.writeUInt32BE(0x0005_0003, 32);
  footer.write("Wi2k", 36, "latin1");
  footer.writeBigUInt64BE(BigInt(sizeBytes), 40);
  footer.writeBigUInt64BE(BigInt(sizeBytes), 48);
  const { cylinders, heads, sectorsPerTrack } = vhdGeometry(sizeBytes / 512);
  footer.writeUInt16BE(cylinders, 56);
  footer.writeUInt8(heads, 58);
  footer.writeUInt8(sectorsPerTrack, 59);
  footer.writeUInt32BE(2, 60); // fixed
  content.copy(footer, 68, 0, 16);
  const sum = footer.reduce((total, byte) => total + byte, 0);
  footer.writeUInt32BE(~sum >>> 0, 64);
  return footer;
}

/** The specification's appendix "CHS Calculation". */
export function vhdGeometry(wanted: number): { cylinders: number; heads: number; sectorsPerTrack: number } {
  const sectors = Math.min(wanted, 65_535 * 16 * 255);
  if (sectors >= 65_535 * 16 * 63) return geometry(sectors, 16, 255);
  const tracks = Math.floor(sectors / 17);
  const heads = Math.max(4, Math.floor((tracks + 1023) / 1024));
  if (tracks < heads * 1024 && heads <= 16) return geometry(sectors, heads, 17);
  if (Math.floor(sectors / 31) < 16 * 1024) return geometry(sectors, 16, 31);
  return geometry(sectors, 16, 63);
}

function geometry(sectors: number, heads: number, sectorsPerTrack: number) {
  return { cylinders: Math.floor(Math.floor(sectors / sectorsPerTrack) / heads), heads, sectorsPerTrack };
}

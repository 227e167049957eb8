import { createHash } from "node:crypto";
import { open, stat } from "node:fs/promises";
import { isZero, readChunks, writeWhole } from "./chunks.ts";
import { crc32c } from "./crc32c.ts";
import { guidBytes, guidFromHash } from "./gpt.ts";

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;
/** The smallest that the format allows: holes of the image are kept best. */
const blockBytes = mebibyte;
const logicalSectorBytes = 512;
/** Blocks that one sector bitmap block would describe; the table has a place for one after as many blocks. */
const blocksPerChunk = (2 ** 23 * logicalSectorBytes) / blockBytes;
const layout = { log: mebibyte, metadata: 2 * mebibyte, table: 3 * mebibyte } as const;
const blockState = { zero: 2n, present: 6n } as const;

const regionIds = {
  table: "2DC27766-F623-4200-9D64-115E9BFD4A08",
  metadata: "8B7CA206-4790-4B9A-B8FE-575F050F886E",
} as const;

const itemIds = {
  fileParameters: "CAA16737-FA36-4D43-B3B6-33F0AA44E76B",
  diskSize: "2FA54224-CD1B-4876-B211-5DBED83BF4B8",
  diskId: "BECA12AB-B2E6-4523-93EF-C309E000C746",
  logicalSector: "8141BF1D-A96F-4709-BA47-F233A8FAAB5F",
  physicalSector: "CDA348C7-445D-4471-9CC9-E9885251C556",
} as const;

/**
 * Writes a dynamic VHDX: blocks of zeros take no place in the file. Its ids come from the content; the log is empty.
 *
 * [MS-VHDX] "Virtual Hard Disk v2 (VHDX) File Format".
 * @see https://learn.microsoft.com/openspecs/windows_protocols/ms-vhdx
 */
export async function writeVhdx(raw: string, output: string, signal: AbortSignal): Promise<void> {
  const content = createHash("sha256");
  const target = await open(output, "wx");
  try {
    // 1. Blocks; where they begin depends on the length of their table.
    const { size: sizeBytes } = await stat(raw);
    const blocks = Math.ceil(sizeBytes / blockBytes);
    const entries = blocks + Math.floor((blocks - 1) / blocksPerChunk);
    const table = Buffer.alloc(Math.ceil((entries * 8) / mebibyte) * mebibyte);
    let position = layout.table + table.length;
    for await (const { firstByte, bytes } of readChunks(raw, blockBytes, signal)) {
      content.update(bytes);
      const block = firstByte / blockBytes;
      const at = (block + Math.floor(block / blocksPerChunk)) * 8;
      if (isZero(bytes)) {
        table.writeBigUInt64LE(blockState.zero, at);
        continue;
      }
      await writeWhole(target, bytes, position);
      table.writeBigUInt64LE(BigInt(position) | blockState.present, at);
      position += blockBytes;
    }
    await target.truncate(position); // a short last block
    // 2. What describes them.
    const hex = content.digest("hex");
    const id = (purpose: string) => guidFromHash(createHash("sha256").update(`${purpose} ${hex}`).digest("hex"));
    await writeWhole(target, table, layout.table);
    await writeWhole(target, metadata(sizeBytes, id("disk")), layout.metadata);
    const regions = regionTable(table.length);
    for (const at of [192, 256]) await writeWhole(target, regions, at * kibibyte);
    await writeWhole(target, header(1n, id("file"), id("data")), 64 * kibibyte);
    await writeWhole(target, header(2n, id("file"), id("data")), 128 * kibibyte);
    await writeWhole(target, fileIdentifier(), 0);
  } finally {
    await target.close();
  }
}

function fileIdentifier(): Buffer {
  const block = Buffer.alloc(64 * kibibyte);
  block.write("vhdxfile", 0, "latin1");
  block.write("kubedos", 8, "utf16le");
  return block;
}

/** One of the two headers; the one with the higher sequence number counts. */
function header(sequence: bigint, fileId: string, dataId: string): Buffer {
  const block = Buffer.alloc(4 * kibibyte);
  block.write("head", 0, "latin1");
  block.writeBigUInt64LE(sequence, 8);
  guidBytes(fileId).copy(block, 16);
  guidBytes(dataId).copy(block, 32);
  // The log's id is zero: there is nothing to replay.
  block.writeUInt16LE(1, 66); // version of the format
  block.writeUInt32LE(mebibyte, 68);
  block.writeBigUInt64LE(BigInt(layout.log), 72);
  block.writeUInt32LE(crc32c(block), 4);
  return block;
}

function regionTable(tableBytes: number): Buffer {
  const block = Buffer.alloc(64 * kibibyte);
  block.write("regi", 0, "latin1");
  block.writeUInt32LE(2, 8);
  const entry = (at: number, id: string, firstByte: number, length: number) => {
    guidBytes(id).copy(block, at);
    block.writeBigUInt64LE(BigInt(firstByte), at + 16);
    block.writeUInt32LE(length, at + 24);
    block.writeUInt32LE(1, at + 28); // required
  };
  entry(16, regionIds.table, layout.table, tableBytes);
  entry(48, regionIds.metadata, layout.metadata, mebibyte);
  block.writeUInt32LE(crc32c(block), 4);
  return block;
}

function metadata(sizeBytes: number, diskId: string): Buffer {
  const region = Buffer.alloc(mebibyte);
  const required = 4;
  const ofTheDisk = 2;
  const items: [id: string, flags: number, value: Buffer][] = [
    [itemIds.fileParameters, required, concat32(blockBytes, 0)],
    [itemIds.diskSize, required | ofTheDisk, concat32(sizeBytes % 2 ** 32, Math.floor(sizeBytes / 2 ** 32))],
    [itemIds.diskId, required | ofTheDisk, guidBytes(diskId)],
    [itemIds.logicalSector, required | ofTheDisk, concat32(logicalSectorBytes)],
    [itemIds.physicalSector, required | ofTheDisk, concat32(4096)],
  ];
  region.write("metadata", 0, "latin1");
  region.writeUInt16LE(items.length, 10);
  let valueAt = 64 * kibibyte;
  items.forEach(([id, flags, value], index) => {
    const at = 32 + index * 32;
    guidBytes(id).copy(region, at);
    region.writeUInt32LE(valueAt, at + 16);
    region.writeUInt32LE(value.length, at + 20);
    region.writeUInt32LE(flags, at + 24);
    value.copy(region, valueAt);
    valueAt += value.length;
  });
  return region;
}

function concat32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32LE(value, index * 4));
  return bytes;
}

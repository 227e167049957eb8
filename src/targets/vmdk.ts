import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { readWhole, writeWhole } from "./chunks.ts";

const sectorBytes = 512;
/** Bytes of a grain: the unit of compression. */
export const grainBytes = 64 * 1024;
const grainSectors = grainBytes / sectorBytes;
const entriesPerTable = 512;
/** Where the grains begin; before it are the header and the descriptor. */
const overheadSectors = 128;
const descriptorSectors = 20;
const offsetAtEnd = 0xffff_ffff_ffff_ffffn;
const marker = { endOfStream: 0, grainTable: 1, grainDirectory: 2, footer: 3 } as const;

/**
 * Writes a streamOptimized VMDK from grains that `deflate.py` compressed: `grains` holds their zlib streams one after
 * the other, `lengths` the length of each (u32, little-endian, 0 for a grain of zeros). `sizeBytes` is the disk's.
 *
 * "Virtual Disk Format 5.0" (VMware, 2011), section "Stream-Optimized Compressed Sparse Extents".
 */
export async function writeVmdk(
  input: { grains: string; lengths: Buffer; sizeBytes: number },
  output: string,
  signal: AbortSignal,
): Promise<void> {
  const capacity = input.sizeBytes / sectorBytes;
  const content = createHash("sha256").update(input.lengths);
  const directory: number[] = [];
  const source = await open(input.grains);
  const target = await open(output, "wx");
  let sector = overheadSectors;
  const append = async (bytes: Buffer) => {
    await writeWhole(target, bytes, sector * sectorBytes);
    sector += bytes.length / sectorBytes;
  };
  try {
    // 1. Grains in the order of the disk, after each 512 of them their table; a table of zeros is left out.
    let position = 0;
    const grains = input.lengths.length / 4;
    for (let first = 0; first < grains; first += entriesPerTable) {
      signal.throwIfAborted();
      const table = Buffer.alloc(entriesPerTable * 4);
      for (let index = first; index < Math.min(first + entriesPerTable, grains); index++) {
        const length = input.lengths.readUInt32LE(index * 4);
        if (length === 0) continue;
        const grain = Buffer.alloc(wholeSectors(12 + length));
        grain.writeBigUInt64LE(BigInt(index * grainSectors), 0);
        grain.writeUInt32LE(length, 8);
        const data = grain.subarray(12, 12 + length);
        await readWhole(source, data, position, input.grains);
        position += length;
        content.update(data);
        table.writeUInt32LE(sector, (index - first) * 4);
        await append(grain);
      }
      if (table.every((byte) => byte === 0)) {
        directory.push(0);
        continue;
      }
      await append(markerBlock(marker.grainTable, table.length / sectorBytes));
      directory.push(sector);
      await append(table);
    }
    // 2. The directory of tables, the footer that says where it is, and the end.
    const entries = Buffer.alloc(wholeSectors(directory.length * 4));
    directory.forEach((at, index) => entries.writeUInt32LE(at, index * 4));
    await append(markerBlock(marker.grainDirectory, entries.length / sectorBytes));
    const directorySector = sector;
    await append(entries);
    await append(markerBlock(marker.footer, 1));
    await append(header(capacity, BigInt(directorySector)));
    await append(markerBlock(marker.endOfStream, 0));
    // 3. The head.
    await writeWhole(target, header(capacity, offsetAtEnd), 0);
    const contentId = content.digest().readUInt32BE(0) & 0x7fff_ffff; // not the reserved ffffffff, "no parent"
    await writeWhole(target, Buffer.from(descriptor(capacity, contentId)), sectorBytes);
  } finally {
    await source.close();
    await target.close();
  }
}

/** `SparseExtentHeader`; the packed structure of the specification. */
function header(capacity: number, directory: bigint): Buffer {
  const block = Buffer.alloc(sectorBytes);
  block.write("KDMV", 0, "latin1");
  block.writeUInt32LE(3, 4);
  block.writeUInt32LE(0x3_0001, 8); // newline test, compressed grains, markers
  block.writeBigUInt64LE(BigInt(capacity), 12);
  block.writeBigUInt64LE(BigInt(grainSectors), 20);
  block.writeBigUInt64LE(1n, 28); // descriptor
  block.writeBigUInt64LE(BigInt(descriptorSectors), 36);
  block.writeUInt32LE(entriesPerTable, 44);
  block.writeBigUInt64LE(0n, 48); // no redundant directory
  block.writeBigUInt64LE(directory, 56);
  block.writeBigUInt64LE(BigInt(overheadSectors), 64);
  block.write("\n \r\n", 73, "latin1");
  block.writeUInt16LE(1, 77); // deflate
  return block;
}

function markerBlock(type: number, sectors: number): Buffer {
  const block = Buffer.alloc(sectorBytes);
  block.writeBigUInt64LE(BigInt(sectors), 0);
  block.writeUInt32LE(type, 12);
  return block;
}

function descriptor(capacity: number, contentId: number): string {
  const [heads, sectorsPerTrack] = [255, 63];
  const cylinders = Math.ceil(capacity / heads / sectorsPerTrack);
  return `# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=${contentId.toString(16).padStart(8, "0")}
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW ${capacity} SPARSE "kubedos.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "${cylinders}"
ddb.geometry.heads = "${heads}"
ddb.geometry.sectors = "${sectorsPerTrack}"
ddb.virtualHWVersion = "14"
`;
}

function wholeSectors(bytes: number): number {
  return Math.ceil(bytes / sectorBytes) * sectorBytes;
}

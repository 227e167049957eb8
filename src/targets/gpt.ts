import { crc32 } from "node:zlib";

/** GUID partition tables. https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html */
export interface Partition {
  /** Partition type, textual GUID. */
  type: string;
  /** Unique id, textual GUID. */
  id: string;
  /** At most 36 characters. */
  name: string;
  firstByte: number;
  sizeBytes: number;
}

export const sectorBytes = 512;
const entryBytes = 128;
const entryCount = 128;
const tableSectors = (entryBytes * entryCount) / sectorBytes;

/** Space that the table needs at each end of the disk; partitions start at 1 MiB. */
export const gptTailBytes = (1 + tableSectors) * sectorBytes;

export const partitionTypes = {
  esp: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
  rootX8664: "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
  linuxData: "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
  rootVerityX8664: "2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5",
} as const;

/** Both copies of the table for a disk of `diskBytes`: `head` for offset 0, `tail` for `tailOffset`. */
export function writeGpt(
  diskBytes: number,
  diskId: string,
  partitions: readonly Partition[],
): { head: Buffer; tail: Buffer; tailOffset: number } {
  const sectors = diskBytes / sectorBytes;
  const entries = Buffer.alloc(entryBytes * entryCount);
  partitions.forEach((partition, index) => {
    const at = index * entryBytes;
    guidBytes(partition.type).copy(entries, at);
    guidBytes(partition.id).copy(entries, at + 16);
    entries.writeBigUInt64LE(BigInt(partition.firstByte / sectorBytes), at + 32);
    entries.writeBigUInt64LE(BigInt((partition.firstByte + partition.sizeBytes) / sectorBytes - 1), at + 40);
    entries.write(partition.name, at + 56, 72, "utf16le");
  });
  const header = (own: number, other: number, entriesAt: number) => {
    const block = Buffer.alloc(sectorBytes);
    block.write("EFI PART", 0, "latin1");
    block.writeUInt32LE(0x0001_0000, 8);
    block.writeUInt32LE(92, 12);
    block.writeBigUInt64LE(BigInt(own), 24);
    block.writeBigUInt64LE(BigInt(other), 32);
    block.writeBigUInt64LE(BigInt(2 + tableSectors), 40);
    block.writeBigUInt64LE(BigInt(sectors - 2 - tableSectors), 48);
    guidBytes(diskId).copy(block, 56);
    block.writeBigUInt64LE(BigInt(entriesAt), 72);
    block.writeUInt32LE(entryCount, 80);
    block.writeUInt32LE(entryBytes, 84);
    block.writeUInt32LE(crc32(entries), 88);
    block.writeUInt32LE(crc32(block.subarray(0, 92)), 16);
    return block;
  };
  const last = sectors - 1;
  return {
    head: Buffer.concat([protectiveMbr(sectors), header(1, last, 2), entries]),
    tail: Buffer.concat([entries, header(last, 1, last - tableSectors)]),
    tailOffset: (last - tableSectors) * sectorBytes,
  };
}

function protectiveMbr(sectors: number): Buffer {
  const block = Buffer.alloc(sectorBytes);
  Buffer.from([0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff]).copy(block, 446);
  block.writeUInt32LE(1, 454);
  block.writeUInt32LE(Math.min(sectors - 1, 0xffff_ffff), 458);
  block.writeUInt16LE(0xaa55, 510);
  return block;
}

/** A GUID as on disk: the first three fields little-endian. */
export function guidBytes(text: string): Buffer {
  const bytes = Buffer.from(text.replaceAll("-", ""), "hex");
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  return bytes;
}

/** A GUID from 32 hex digits of a hash (marked as version 8, RFC 9562: vendor-specific). */
export function guidFromHash(hex: string): string {
  const digits = `${hex.slice(0, 12)}8${hex.slice(13, 16)}8${hex.slice(17, 32)}`.toUpperCase();
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

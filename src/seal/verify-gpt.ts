import { crc32 } from "node:zlib";
import { gptTailBytes, partitionTypes, sectorBytes, writeGpt, type Partition } from "../targets/gpt.ts";
import { differenceIn, type DiskImage, type Finding } from "./verify-image.ts";

const entryBytes = 128;
const tableBytes = 128 * entryBytes;
const headBytes = 2 * sectorBytes + tableBytes;

/**
 * Reads the partition table of a disk and compares both copies, the protective MBR and every unused byte of them with
 * what the same partitions are written as. One good copy is enough to know what the other should be.
 * https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html
 */
export async function verifyGpt(image: DiskImage): Promise<{ partitions: Partition[]; findings: Finding[] }> {
  const tailAt = image.sizeBytes - gptTailBytes;
  if (tailAt < headBytes || image.sizeBytes % sectorBytes !== 0) {
    return { partitions: [], findings: [{ structure: "disk", message: "too small for a partition table, or cut" }] };
  }
  const head = await image.read(0, headBytes);
  const tail = await image.read(tailAt, gptTailBytes);
  const primary = readCopy(head.subarray(sectorBytes, 2 * sectorBytes), head.subarray(2 * sectorBytes));
  const backup = readCopy(tail.subarray(tableBytes), tail.subarray(0, tableBytes));
  const good = primary ?? backup;
  if (good === undefined) {
    const findings = [
      { structure: "partition table (primary)", offsetBytes: sectorBytes, message: "checksum or format is wrong" },
      { structure: "partition table (backup)", offsetBytes: tailAt, message: "checksum or format is wrong" },
    ];
    return { partitions: [], findings };
  }
  const expected = writeGpt(image.sizeBytes, good.diskId, good.partitions);
  const findings: Finding[] = [];
  for (const [name, actual, wanted, at] of [
    ["protective MBR", head.subarray(0, sectorBytes), expected.head.subarray(0, sectorBytes), 0],
    ["partition table (primary)", head.subarray(sectorBytes), expected.head.subarray(sectorBytes), sectorBytes],
    ["partition table (backup)", tail, expected.tail, tailAt],
  ] as const) {
    const index = differenceIn(actual, wanted);
    if (index === undefined) continue;
    findings.push({
      structure: name,
      offsetBytes: at + index,
      message: "differs from what these partitions are written as",
    });
  }
  return { partitions: good.partitions, findings };
}

/** Names, types and ids that partitions must have for a root hash (see src/targets/raw.ts). */
export function checkPartitions(partitions: readonly Partition[], rootHash: string): Finding[] {
  const short = rootHash.slice(0, 16);
  const wanted = [
    { name: "kubedos-esp", type: partitionTypes.esp },
    { name: `kubedos-root-${short}`, type: partitionTypes.rootX8664, id: rootHash.slice(0, 32) },
    { name: `kubedos-hash-${short}`, type: partitionTypes.rootVerityX8664, id: rootHash.slice(32) },
    { name: "kubedos-seed", type: partitionTypes.linuxData },
  ];
  const findings: Finding[] = [];
  wanted.forEach(({ name, type, id }, index) => {
    const found = partitions[index];
    const fits = found?.name === name && found.type === type;
    if (fits && (id === undefined || found.id.replaceAll("-", "").toLowerCase() === id)) return;
    const offsetBytes = 2 * sectorBytes + index * entryBytes;
    findings.push({ structure: `partition ${index + 1}`, offsetBytes, message: `is not ${name} of this root hash` });
  });
  if (partitions.length > wanted.length) {
    findings.push({ structure: "partition table", message: `${partitions.length - wanted.length} more partitions` });
  }
  return findings;
}

function readCopy(header: Buffer, table: Buffer): { diskId: string; partitions: Partition[] } | undefined {
  const entries = table.subarray(0, tableBytes);
  const bare = Buffer.from(header.subarray(0, 92));
  bare.writeUInt32LE(0, 16);
  if (header.toString("latin1", 0, 8) !== "EFI PART" || crc32(bare) !== header.readUInt32LE(16)) return undefined;
  if (crc32(entries) !== header.readUInt32LE(88)) return undefined;
  const partitions: Partition[] = [];
  for (let at = 0; at < entries.length; at += entryBytes) {
    const entry = entries.subarray(at, at + entryBytes);
    if (entry.every((byte) => byte === 0)) break;
    const firstByte = Number(entry.readBigUInt64LE(32)) * sectorBytes;
    partitions.push({
      type: guidText(entry.subarray(0, 16)),
      id: guidText(entry.subarray(16, 32)),
      name: entry.toString("utf16le", 56, 128).replace(/\0+$/, ""),
      firstByte,
      sizeBytes: (Number(entry.readBigUInt64LE(40)) + 1) * sectorBytes - firstByte,
    });
  }
  return { diskId: guidText(header.subarray(56, 72)), partitions };
}

function guidText(bytes: Buffer): string {
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  const hex = Buffer.from(order.map((index) => bytes[index]!)).toString("hex");
  return hex.toUpperCase().replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

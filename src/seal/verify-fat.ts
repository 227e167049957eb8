/** What of FAT32 is needed to find one file in an EFI system partition. */
export interface FatFile {
  /** Where the file's first byte is in the partition; the rest follows, in a file system that was written once. */
  firstByte: number;
  sizeBytes: number;
}

const attributes = { directory: 0x10, longName: 0x0f };

/**
 * A file of a FAT32 file system by its path of 8.3 names; undefined where there is none.
 * "Microsoft FAT Specification", 2005: https://academy.cba.mit.edu/classes/networking_communications/SD/FAT.pdf
 *
 * @throws Error when the file system is damaged
 */
function readFatFileIfThere(fat: Buffer, path: string): FatFile | undefined {
  const sectorBytes = fat.readUInt16LE(11);
  const clusterBytes = sectorBytes * fat[13]!;
  const fatAt = fat.readUInt16LE(14) * sectorBytes;
  const dataAt = fatAt + fat[16]! * fat.readUInt32LE(36) * sectorBytes;
  if (fat.readUInt16LE(510) !== 0xaa55 || clusterBytes === 0 || dataAt >= fat.length)
    throw new Error("no FAT32 boot sector");
  const chain = (first: number): number[] => {
    const found: number[] = [];
    for (let cluster = first; cluster < 0x0fff_fff8;) {
      const at = dataAt + (cluster - 2) * clusterBytes;
      if (cluster < 2 || at + clusterBytes > fat.length || found.length * clusterBytes > fat.length) {
        throw new Error(`a cluster chain leads to ${cluster}, which does not exist`);
      }
      found.push(at);
      cluster = fat.readUInt32LE(fatAt + cluster * 4) & 0x0fff_ffff;
    }
    return found;
  };
  const read = (clusters: readonly number[]) =>
    Buffer.concat(clusters.map((at) => fat.subarray(at, at + clusterBytes)));
  let next = { cluster: fat.readUInt32LE(44), sizeBytes: 0 };
  for (const step of path.split("/")) {
    const entry = findEntry(read(chain(next.cluster)), step);
    if (entry === undefined) return undefined;
    next = entry;
  }
  const firstByte = dataAt + (next.cluster - 2) * clusterBytes;
  return { firstByte, sizeBytes: next.sizeBytes };
}

/** Where firmware starts from; a shim, where there is one, and then what it starts, the boot image. */
export const bootPaths = { first: "EFI/BOOT/BOOTX64.EFI", behindShim: "EFI/BOOT/GRUBX64.EFI" } as const;

/**
 * The boot image of an EFI system partition, and its path.
 *
 * @throws Error when the file system is damaged or has none
 */
export function readBootFile(fat: Buffer): FatFile & { path: string } {
  for (const path of [bootPaths.behindShim, bootPaths.first]) {
    const file = readFatFileIfThere(fat, path);
    if (file !== undefined) return { ...file, path };
  }
  throw new Error(`there is no ${bootPaths.first}`);
}

function findEntry(directory: Buffer, name: string): { cluster: number; sizeBytes: number } | undefined {
  for (let at = 0; at + 32 <= directory.length && directory[at] !== 0; at += 32) {
    if (directory[at + 11] === attributes.longName || directory[at] === 0xe5) continue;
    const [stem, extension] = [directory.toString("latin1", at, at + 8), directory.toString("latin1", at + 8, at + 11)];
    if ([stem.trimEnd(), extension.trimEnd()].filter((part) => part !== "").join(".") !== name) continue;
    const cluster = directory.readUInt16LE(at + 20) * 65_536 + directory.readUInt16LE(at + 26);
    return { cluster, sizeBytes: directory.readUInt32LE(at + 28) };
  }
  return undefined;
}

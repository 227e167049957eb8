import {
  indexEnd,
  readCompressed,
  readExtents,
  roundUp,
  slice,
  storedKinds,
  type CompressedFile,
  type StoredPart,
} from "./erofs-clusters.ts";

/**
 * Reads an erofs image as mkfs.erofs 1.8 writes it for us: plain, inline and LZ4-compressed files, no fragments, no
 * extra devices. https://erofs.docs.kernel.org/en/latest/core_ondisk.html and the kernel's fs/erofs/erofs_fs.h
 */
export interface ErofsEntry {
  /** Absolute path. */
  path: string;
  type: "file" | "directory" | "link" | "device" | "other";
  /** Permission bits, setuid and sticky included. */
  mode: number;
  uid: number;
  gid: number;
  sizeBytes: number;
  /** Number of the inode: hard links share it. */
  inode: number;
  /** Of a device: its number. */
  device?: number;
}

/** An open image. */
export interface Erofs {
  /** Every entry but the root directory, in order of paths. */
  entries(): ErofsEntry[];
  /** The entry at an absolute path, `/` included; links are not followed. */
  find(path: string): ErofsEntry | undefined;
  /** Content of a file, or target of a link. */
  read(entry: ErofsEntry): Buffer;
  /** Content as it is stored, in parts: equal parts mean equal content, and are much quicker to get. */
  stored(entry: ErofsEntry): StoredPart[];
  place(entry: ErofsEntry): ErofsPlace;
}

/** Bytes of an image, counted from its first one. */
export interface Range {
  from: number;
  to: number;
}

/** Where an entry is in the image, and the parts of it that lie in its metadata. */
export interface ErofsPlace {
  /** Inode with its extended attributes, inline tail and index of compressed clusters. */
  meta: Range;
  /** Blocks of data (compressed or not), a directory's included; empty where all is inline. */
  data: Range;
  /** Inline extended attributes. */
  attributes: Buffer;
  /** Inline end of the data. */
  tail: Buffer;
}

const superblockAt = 1024;
const magic = 0xe0f5e1e2;
/** Zero padding and big physical clusters; everything else is not used by us. */
const knownFeatures = 0x3;
const layouts = { plain: 0, compressedFull: 1, inline: 2, compressedCompact: 3 } as const;
const fileTypes = { 0x8000: "file", 0x4000: "directory", 0xa000: "link", 0x2000: "device", 0x6000: "device" } as const;

interface Inode {
  layout: number;
  format: number;
  uid: number;
  gid: number;
  sizeBytes: number;
  /** Block address, number of compressed blocks or device, as the layout has it. */
  union: number;
  /** First byte of inode, and of its extended attributes. */
  at: number;
  attributesAt: number;
  /** First byte after inode and extended attributes. */
  end: number;
}

/**
 * Opens an image that is in memory.
 *
 * @throws Error when it is no erofs image, or uses what mkfs.erofs was not asked for
 */
export function openErofs(image: Buffer): Erofs {
  if (image.length < superblockAt + 128 || image.readUInt32LE(superblockAt) !== magic) {
    throw new Error("not an erofs image: no superblock");
  }
  const blockBits = image[superblockAt + 12]!;
  const features = image.readUInt32LE(superblockAt + 80);
  if ((features & ~knownFeatures) !== 0 || blockBits < 9 || blockBits > 16) {
    throw new Error(`an erofs image with features that this version does not know (0x${features.toString(16)})`);
  }
  const blockBytes = 2 ** blockBits;
  const metadataAt = image.readUInt32LE(superblockAt + 40) * blockBytes;
  const rootInode = image.readUInt16LE(superblockAt + 14);

  const readInode = (number: number): Inode => {
    const at = metadataAt + number * 32;
    const format = image.readUInt16LE(at);
    const extended = (format & 1) === 1;
    const attributes = image.readUInt16LE(at + 2);
    const attributesAt = at + (extended ? 64 : 32);
    return {
      at,
      attributesAt,
      layout: (format >> 1) & 7,
      format: image.readUInt16LE(at + 4),
      sizeBytes: extended ? Number(image.readBigUInt64LE(at + 8)) : image.readUInt32LE(at + 8),
      union: image.readUInt32LE(at + 16),
      uid: extended ? image.readUInt32LE(at + 24) : image.readUInt16LE(at + 24),
      gid: extended ? image.readUInt32LE(at + 28) : image.readUInt16LE(at + 26),
      end: attributesAt + (attributes === 0 ? 0 : 12 + (attributes - 1) * 4),
    };
  };
  const readContent = (inode: Inode): Buffer => {
    const { layout, sizeBytes, union, end } = inode;
    if (sizeBytes > image.length * 255) throw new Error("an impossible file size");
    switch (layout) {
      case layouts.plain:
        return slice(image, union * blockBytes, sizeBytes);
      case layouts.inline: {
        const tail = sizeBytes % blockBytes;
        const head = sizeBytes - tail;
        return Buffer.concat([
          head === 0 ? Buffer.alloc(0) : slice(image, union * blockBytes, head),
          slice(image, end, tail),
        ]);
      }
      case layouts.compressedFull:
      case layouts.compressedCompact:
        return readCompressed(image, compressed(inode), blockBits);
      default:
        throw new Error(`a file of layout ${layout}, which this version does not know`);
    }
  };
  const describe = (path: string, number: number): ErofsEntry => {
    const { format, uid, gid, sizeBytes, union } = readInode(number);
    const type = fileTypes[(format & 0xf000) as keyof typeof fileTypes] ?? "other";
    const entry = { path, type, mode: format & 0o7777, uid, gid, sizeBytes, inode: number };
    return type === "device" ? { ...entry, device: union } : entry;
  };
  const list = (number: number): { name: string; inode: number }[] =>
    readDirectory(readContent(readInode(number)), blockBytes);
  const walk = (directory: string, number: number, depth: number): ErofsEntry[] => {
    if (depth > 100) throw new Error("directories that contain each other");
    return list(number).flatMap(({ name, inode }) => {
      const entry = describe(`${directory}/${name}`, inode);
      return entry.type === "directory" ? [entry, ...walk(entry.path, inode, depth + 1)] : [entry];
    });
  };
  return {
    entries: () => walk("", rootInode, 0).toSorted((a, b) => (a.path < b.path ? -1 : 1)),
    find(path) {
      let number = rootInode;
      for (const step of path.split("/").filter((part) => part !== "")) {
        if (describe("", number).type !== "directory") return undefined;
        const found = list(number).find(({ name }) => name === step);
        if (found === undefined) return undefined;
        number = found.inode;
      }
      return describe(path, number);
    },
    read: ({ inode }) => readContent(readInode(inode)),
    stored({ inode: number }) {
      const inode = readInode(number);
      if (isCompressed(inode)) return readExtents(image, compressed(inode), blockBits);
      return [{ offsetBytes: 0, kind: storedKinds.plain, bytes: readContent(inode) }];
    },
    place({ inode: number }) {
      const inode = readInode(number);
      const { at, attributesAt, end, layout, sizeBytes, union } = inode;
      const attributes = slice(image, attributesAt, end - attributesAt);
      const place = (metaTo: number, from: number, bytes: number, tail = 0) => {
        const data = bytes === 0 ? { from: 0, to: 0 } : { from, to: from + bytes };
        return { meta: { from: at, to: metaTo }, data, attributes, tail: slice(image, end, tail) };
      };
      if (!hasData(inode)) return place(end, 0, 0);
      if (isCompressed(inode)) {
        const first = readExtents(image, compressed(inode), blockBits)[0]?.bytes.byteOffset ?? image.byteOffset;
        const to = indexEnd(image, compressed(inode), blockBits);
        return place(to, first - image.byteOffset, union * blockBytes);
      }
      const tail = layout === layouts.inline ? sizeBytes % blockBytes : 0;
      return place(end + tail, union * blockBytes, roundUp(sizeBytes - tail, blockBytes), tail);
    },
  };
}

function isCompressed({ layout }: Inode): boolean {
  return layout === layouts.compressedFull || layout === layouts.compressedCompact;
}

function compressed({ layout, sizeBytes, end }: Inode): CompressedFile {
  return { fullIndexes: layout === layouts.compressedFull, sizeBytes, end };
}

/** Devices, sockets and pipes have none. */
function hasData({ format }: Inode): boolean {
  const type = fileTypes[(format & 0xf000) as keyof typeof fileTypes];
  return type === "file" || type === "directory" || type === "link";
}

/** Names and inodes of a directory's content, without `.` and `..`. */
function readDirectory(content: Buffer, blockBytes: number): { name: string; inode: number }[] {
  const found: { name: string; inode: number }[] = [];
  for (let start = 0; start < content.length; start += blockBytes) {
    const block = content.subarray(start, start + blockBytes);
    const count = block.readUInt16LE(8) / 12;
    for (let index = 0; index < count; index++) {
      const at = index * 12;
      const nameAt = block.readUInt16LE(at + 8);
      const nameEnd = index + 1 < count ? block.readUInt16LE(at + 20) : block.length;
      const name = block.toString("utf8", nameAt, nameEnd).replace(/\0.*$/s, "");
      if (name !== "." && name !== "..") found.push({ name, inode: Number(block.readBigUInt64LE(at)) });
    }
  }
  return found;
}

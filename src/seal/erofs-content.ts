import { decodeLz4Block } from "./lz4.ts";

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
  /** The entry at an absolute path; links are not followed. */
  find(path: string): ErofsEntry | undefined;
  /** Content of a file, or target of a link. */
  read(entry: ErofsEntry): Buffer;
  /** Content as it is stored, in parts: equal parts mean equal content, and are much quicker to get. */
  stored(entry: ErofsEntry): StoredPart[];
}

/** Bytes in the image that stand for the content from an offset on. */
export interface StoredPart {
  offsetBytes: number;
  kind: number;
  bytes: Buffer;
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
    return {
      layout: (format >> 1) & 7,
      format: image.readUInt16LE(at + 4),
      sizeBytes: extended ? Number(image.readBigUInt64LE(at + 8)) : image.readUInt32LE(at + 8),
      union: image.readUInt32LE(at + 16),
      uid: extended ? image.readUInt32LE(at + 24) : image.readUInt16LE(at + 24),
      gid: extended ? image.readUInt32LE(at + 28) : image.readUInt16LE(at + 26),
      end: at + (extended ? 64 : 32) + (attributes === 0 ? 0 : 12 + (attributes - 1) * 4),
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
        return readCompressed(image, inode, blockBits);
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
      for (const step of path.split("/").slice(1)) {
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
      const compressed = inode.layout === layouts.compressedFull || inode.layout === layouts.compressedCompact;
      if (compressed) return readExtents(image, inode, blockBits);
      return [{ offsetBytes: 0, kind: storedKinds.plain, bytes: readContent(inode) }];
    },
  };
}

function slice(image: Buffer, at: number, length: number): Buffer {
  if (at + length > image.length) throw new Error("a file lies outside of the image");
  return image.subarray(at, at + length);
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

/** How a part is stored; `interlaced` is uncompressed and turned to begin where it does in its block. */
const storedKinds = { plain: 0, lz4: 1, interlaced: 2 } as const;
const clusterTypes = { plain: 0, head: 1, nonHead: 2, head2: 3 } as const;
const advice = { compact2: 1, bigClusters: 2, inlineTail: 8, interlaced: 16, fragment: 32 } as const;
/** Flag in a non-head index: the rest is the number of compressed blocks. */
const blockCountFlag = 1 << 11;

/** One index: a logical cluster of the file. */
interface Cluster {
  type: number;
  /** Of a head: where the extent begins in the cluster, and its first block. */
  offset: number;
  block: number;
  /** Of the cluster after a head of several blocks: how many they are. */
  blocks?: number;
}

/** A compressed part, and where in the file its content belongs. */
interface Extent extends StoredPart {
  target: [from: number, to: number];
}

function readExtents(image: Buffer, { layout, sizeBytes, end }: Inode, blockBits: number): Extent[] {
  const headerAt = align(end, 8);
  const advise = image.readUInt16LE(headerAt + 4);
  const algorithms = image[headerAt + 6]!;
  const clusterBits = blockBits + (image[headerAt + 7]! & 7);
  if ((advise & (advice.inlineTail | advice.fragment)) !== 0 || image[headerAt + 7]! >> 7 !== 0 || algorithms !== 0) {
    throw new Error("a file compressed in a way that this version does not know");
  }
  const count = Math.ceil(sizeBytes / 2 ** clusterBits);
  const clusters =
    layout === layouts.compressedFull
      ? readFullIndexes(image, headerAt + 16, count)
      : readCompactIndexes(image, headerAt + 8, count, clusterBits, advise);
  const kindOfPlain = (advise & advice.interlaced) === 0 ? storedKinds.plain : storedKinds.interlaced;
  const extents: Extent[] = [];
  for (let index = 0; index < clusters.length;) {
    const { type, offset, block } = clusters[index]!;
    if (type === clusterTypes.nonHead) throw new Error("an extent without a beginning");
    let next = index + 1;
    while (next < clusters.length && clusters[next]!.type === clusterTypes.nonHead) next++;
    const from = index * 2 ** clusterBits + offset;
    const to = next < clusters.length ? next * 2 ** clusterBits + clusters[next]!.offset : sizeBytes;
    const blocks = clusters[index + 1]?.blocks ?? 1;
    const bytes = slice(image, block * 2 ** blockBits, blocks * 2 ** blockBits);
    const kind = type === clusterTypes.plain ? kindOfPlain : storedKinds.lz4;
    extents.push({ offsetBytes: from, kind, bytes, target: [from, to] });
    index = next;
  }
  return extents;
}

function readCompressed(image: Buffer, inode: Inode, blockBits: number): Buffer {
  const out = Buffer.alloc(inode.sizeBytes);
  for (const { kind, bytes, target: range } of readExtents(image, inode, blockBits)) {
    const target = out.subarray(...range);
    if (kind === storedKinds.lz4) {
      // Compressed bytes end with the block; zeros fill its beginning.
      let first = 0;
      while (first < bytes.length && bytes[first] === 0) first++;
      decodeLz4Block(bytes.subarray(first), target);
    } else if (kind === storedKinds.plain) bytes.copy(target);
    else {
      const split = range[0] % 2 ** blockBits;
      const right = bytes.copy(target, 0, split);
      bytes.copy(target, right, 0, split);
    }
  }
  return out;
}

function readFullIndexes(image: Buffer, at: number, count: number): Cluster[] {
  return Array.from({ length: count }, (_, index) => {
    const place = at + index * 8;
    const type = image.readUInt16LE(place) & 3;
    const delta = image.readUInt16LE(place + 4);
    const blocks =
      type === clusterTypes.nonHead && (delta & blockCountFlag) !== 0 ? delta & ~blockCountFlag : undefined;
    return { type, offset: image.readUInt16LE(place + 2), block: image.readUInt32LE(place + 4), blocks };
  });
}

/** Indexes in packs of 2 (4 bytes each) or of 16 (2 bytes each); a pack ends with the block address before its first. */
function readCompactIndexes(image: Buffer, at: number, count: number, clusterBits: number, advise: number): Cluster[] {
  const initial = ((32 - (at % 32)) / 4) & 7;
  const dense = (advise & advice.compact2) !== 0 && initial < count ? Math.floor((count - initial) / 16) * 16 : 0;
  const big = (advise & advice.bigClusters) !== 0;
  const lowBits = Math.max(clusterBits, 12);
  const clusters: Cluster[] = [];
  const readPack = (packAt: number, entries: number, skip: number, take: number, bits: number) => {
    const packBytes = entries === 2 ? 8 : 32;
    const baseBlock = image.readUInt32LE(packAt + packBytes - 4);
    let used = 0;
    for (let index = 0; index < skip + take; index++) {
      const bit = index * bits;
      const value = image.readUInt32LE(packAt + (bit >> 3)) >>> (bit & 7);
      const low = value & (2 ** lowBits - 1);
      const type = (value >>> lowBits) & 3;
      if (type === clusterTypes.nonHead) {
        const blocks = (low & blockCountFlag) === 0 ? undefined : low & ~blockCountFlag;
        // Its head, counted as one block, may be in the pack before.
        if (big && blocks !== undefined) used += index === 0 ? blocks : blocks - 1;
        if (index >= skip) clusters.push({ type, offset: 0, block: 0, blocks });
        continue;
      }
      if (index >= skip)
        clusters.push({ type, offset: low, block: baseBlock + used + (big ? 0 : 1), blocks: undefined });
      used += 1;
    }
  };
  const readRange = (start: number, length: number, entries: number, bits: number) => {
    const bytes = entries === 2 ? 4 : 2;
    const packBytes = entries * bytes;
    for (let done = 0; done < length;) {
      const place = start + done * bytes;
      const packAt = place - (place % packBytes);
      const skip = (place - packAt) / bytes;
      const take = Math.min(entries - skip, length - done);
      readPack(packAt, entries, skip, take, bits);
      done += take;
    }
  };
  const sparse = Math.min(initial, count);
  readRange(at, sparse, 2, 16);
  readRange(at + sparse * 4, dense, 16, 14);
  readRange(at + sparse * 4 + dense * 2, count - sparse - dense, 2, 16);
  return clusters;
}

function align(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

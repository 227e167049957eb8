import { decodeLz4Block } from "./lz4.ts";

/** Bytes in the image that stand for the content from an offset on. */
export interface StoredPart {
  offsetBytes: number;
  kind: number;
  bytes: Buffer;
}

/** A compressed file: what its inode says of it. */
export interface CompressedFile {
  /** Whether indexes have 8 bytes each (else 4 or 2, in packs). */
  fullIndexes: boolean;
  sizeBytes: number;
  /** First byte after inode and extended attributes. */
  end: number;
}

/** How a part is stored; `interlaced` is uncompressed and turned to begin where it does in its block. */
export const storedKinds = { plain: 0, lz4: 1, interlaced: 2 } as const;
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

/** The parts of a compressed file, in the order of its content. @throws Error when it is compressed in another way */
export function readExtents(
  image: Buffer,
  { fullIndexes, sizeBytes, end }: CompressedFile,
  blockBits: number,
): Extent[] {
  const headerAt = roundUp(end, 8);
  const advise = image.readUInt16LE(headerAt + 4);
  const algorithms = image[headerAt + 6]!;
  const clusterBits = blockBits + (image[headerAt + 7]! & 7);
  if ((advise & (advice.inlineTail | advice.fragment)) !== 0 || image[headerAt + 7]! >> 7 !== 0 || algorithms !== 0) {
    throw new Error("a file compressed in a way that this version does not know");
  }
  const count = Math.ceil(sizeBytes / 2 ** clusterBits);
  const clusters = fullIndexes
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

/** Content of a compressed file. */
export function readCompressed(image: Buffer, file: CompressedFile, blockBits: number): Buffer {
  const out = Buffer.alloc(file.sizeBytes);
  for (const { kind, bytes, target: range } of readExtents(image, file, blockBits)) {
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
  const { sparse, dense } = packs(at, count, advise);
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
  readRange(at, sparse, 2, 16);
  readRange(at + sparse * 4, dense, 16, 14);
  readRange(at + sparse * 4 + dense * 2, count - sparse - dense, 2, 16);
  return clusters;
}

/** Where the indexes of a compressed file end. */
export function indexEnd(image: Buffer, { fullIndexes, sizeBytes, end }: CompressedFile, blockBits: number): number {
  const headerAt = roundUp(end, 8);
  const clusterBits = blockBits + (image[headerAt + 7]! & 7);
  const count = Math.ceil(sizeBytes / 2 ** clusterBits);
  if (fullIndexes) return headerAt + 16 + count * 8;
  const { dense } = packs(headerAt + 8, count, image.readUInt16LE(headerAt + 4));
  return headerAt + 8 + dense * 2 + roundUp(count - dense, 2) * 4;
}

/** Indexes up to a 32-byte boundary (4 bytes each), then in packs of 16 (2 bytes each); the rest has 4 bytes again. */
function packs(at: number, count: number, advise: number): { sparse: number; dense: number } {
  const initial = ((32 - (at % 32)) / 4) & 7;
  const dense = (advise & advice.compact2) !== 0 && initial < count ? Math.floor((count - initial) / 16) * 16 : 0;
  return { sparse: Math.min(initial, count), dense };
}

/** The next multiple of a number. */
export function roundUp(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

/** @throws Error when the bytes are not in the image */
export function slice(image: Buffer, at: number, length: number): Buffer {
  if (at + length > image.length) throw new Error("a file lies outside of the image");
  return image.subarray(at, at + length);
}

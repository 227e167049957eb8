import { differenceIn, type DiskImage } from "./verify-image.ts";

/** One name in an erofs image, and where its bytes are. Offsets count from the image's first byte. */
export interface ErofsEntry {
  /** From the root, e.g. `/usr/bin/dash`; the root itself is `/`. */
  path: string;
  mode: number;
  uid: number;
  gid: number;
  sizeBytes: number;
  /** Hard links: names with the same number are one file. */
  inode: number;
  /** Inode with its extended attributes, inline tail and index of compressed clusters. */
  meta: { from: number; to: number };
  /** Blocks of data (compressed or not), directories' included; empty where all is inline. */
  data: { from: number; to: number };
  /** Inline extended attributes, hex: for comparison. */
  attributes: string;
  /** Inline end of the data, hex: for comparison. */
  tail: string;
  /** Number of a device node. */
  device: number;
}

const magic = 0xe0f5_e1e2;
const layouts = { plain: 0, full: 1, inline: 2, compact: 3 };
const kinds = { mask: 0o170_000, directory: 0o040_000, regular: 0o100_000, link: 0o120_000 };
/** Bytes of metadata that are read at once around an inode. */
const windowBytes = 64 * 1024;

/**
 * Every name of an erofs image as mkfs.erofs writes it for the sealed root: 4096-byte blocks, no chunks, no fragments,
 * no packed tails. https://erofs.docs.kernel.org/en/latest/core_ondisk.html
 *
 * @param image the erofs image, or the partition that starts with one
 * @throws Error when it is not such an image or is damaged in its metadata
 */
export async function readErofs(image: DiskImage): Promise<ErofsEntry[]> {
  const superblock = await image.read(1024, 128);
  if (superblock.readUInt32LE(0) !== magic) throw new Error("no erofs superblock at byte 1024");
  const blockBytes = 2 ** superblock[12]!;
  if (blockBytes !== 4096) throw new Error(`erofs blocks of ${blockBytes} bytes`);
  const metaAt = superblock.readUInt32LE(40) * blockBytes;
  const reader = windowReader(image);
  const entries: ErofsEntry[] = [];
  const visited = new Set<number>();
  const visit = async (nid: number, path: string): Promise<void> => {
    const inode = await readInode(reader, metaAt + nid * 32, blockBytes);
    entries.push({ path: path === "" ? "/" : path, inode: nid, ...inode.entry });
    if ((inode.entry.mode & kinds.mask) !== kinds.directory || visited.has(nid)) return;
    visited.add(nid);
    for (const { name, nid: child } of await readDirectory(reader, inode, blockBytes)) {
      if (name !== "." && name !== "..") await visit(child, `${path}/${name}`);
    }
  };
  await visit(superblock.readUInt16LE(14), "");
  return entries.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

type Reader = (offset: number, length: number) => Promise<Buffer>;

/** Inodes lie close together: one read serves many. */
function windowReader(image: DiskImage): Reader {
  const known = new Map<number, Buffer>();
  return async (offset, length) => {
    const first = Math.floor(offset / windowBytes);
    if (offset + length > (first + 1) * windowBytes) return image.read(offset, length);
    let bytes = known.get(first);
    if (bytes === undefined) {
      bytes = await image.read(first * windowBytes, Math.min(windowBytes, image.sizeBytes - first * windowBytes));
      if (known.size > 512) known.clear();
      known.set(first, bytes);
    }
    const at = offset - first * windowBytes;
    if (at + length > bytes.length) throw new Error(`the image ends before byte ${offset + length}`);
    return bytes.subarray(at, at + length);
  };
}

interface Inode {
  entry: Omit<ErofsEntry, "path" | "inode">;
  /** Where the inline tail is. */
  tailAt: number;
  tailBytes: number;
}

async function readInode(read: Reader, at: number, blockBytes: number): Promise<Inode> {
  const start = await read(at, 32);
  const format = start.readUInt16LE(0);
  const extended = (format & 1) === 1;
  const layout = (format >> 1) & 7;
  const head = extended ? await read(at, 64) : start;
  const headBytes = head.length;
  const attributeCount = head.readUInt16LE(2);
  const attributeBytes = attributeCount === 0 ? 0 : 12 + (attributeCount - 1) * 4;
  const mode = head.readUInt16LE(4);
  const sizeBytes = extended ? Number(head.readBigUInt64LE(8)) : head.readUInt32LE(8);
  const detail = head.readUInt32LE(16);
  const own = {
    mode,
    uid: extended ? head.readUInt32LE(24) : head.readUInt16LE(24),
    gid: extended ? head.readUInt32LE(28) : head.readUInt16LE(26),
    sizeBytes,
    attributes: (await read(at + headBytes, attributeBytes)).toString("hex"),
  };
  const bodyAt = at + headBytes + attributeBytes;
  const hasData = [kinds.directory, kinds.regular, kinds.link].includes(mode & kinds.mask);
  if (!hasData) {
    const nothing = { tail: "", device: detail, meta: { from: at, to: bodyAt }, data: { from: 0, to: 0 } };
    return { entry: { ...own, ...nothing }, tailAt: 0, tailBytes: 0 };
  }
  if (layout === layouts.plain || layout === layouts.inline) {
    const tailBytes = layout === layouts.inline ? sizeBytes % blockBytes : 0;
    const blocks = layout === layouts.inline ? Math.floor(sizeBytes / blockBytes) : Math.ceil(sizeBytes / blockBytes);
    const from = blocks === 0 ? 0 : detail * blockBytes;
    const tail = (await read(bodyAt, tailBytes)).toString("hex");
    const data = { from, to: from + blocks * blockBytes };
    const entry = { ...own, tail, device: 0, meta: { from: at, to: bodyAt + tailBytes }, data };
    return { entry, tailAt: bodyAt, tailBytes };
  }
  if (layout !== layouts.compact && layout !== layouts.full)
    throw new Error(`a data layout that is not ours: ${layout}`);
  const { from, metaTo } = await firstCluster(read, bodyAt, layout, sizeBytes, blockBytes);
  const data = { from, to: from + detail * blockBytes };
  return { entry: { ...own, tail: "", device: 0, meta: { from: at, to: metaTo }, data }, tailAt: 0, tailBytes: 0 };
}

/** Where the compressed data of a file starts: its clusters follow each other. */
async function firstCluster(
  read: Reader,
  bodyAt: number,
  layout: number,
  sizeBytes: number,
  blockBytes: number,
): Promise<{ from: number; metaTo: number }> {
  const headerAt = Math.ceil(bodyAt / 8) * 8;
  const header = await read(headerAt, 8);
  const compactTwo = (header.readUInt16LE(4) & 1) === 1;
  const clusters = Math.ceil(sizeBytes / blockBytes);
  if (layout === layouts.full) {
    const indexAt = headerAt + 16;
    const index = await read(indexAt, 8);
    return { from: index.readUInt32LE(4) * blockBytes, metaTo: indexAt + clusters * 8 };
  }
  // Packs of two 4-byte indexes up to a 32-byte boundary, then packs of sixteen 2-byte ones, then 4-byte ones again;
  // the last 4 bytes of a pack are the block of its first cluster.
  const indexAt = headerAt + 8;
  const untilAligned = ((32 - (indexAt % 32)) / 4) % 8;
  const inTwo = compactTwo && clusters > untilAligned ? Math.floor((clusters - untilAligned) / 16) * 16 : 0;
  const inFour = Math.ceil((clusters - inTwo) / 2) * 2;
  const packBytes = inTwo > 0 && untilAligned === 0 ? 32 : 8;
  const pack = await read(indexAt, packBytes);
  return { from: pack.readUInt32LE(packBytes - 4) * blockBytes, metaTo: indexAt + inTwo * 2 + inFour * 4 };
}

async function readDirectory(
  read: Reader,
  { entry, tailAt, tailBytes }: Inode,
  blockBytes: number,
): Promise<{ name: string; nid: number }[]> {
  const found: { name: string; nid: number }[] = [];
  const collect = (block: Buffer) => {
    if (block.length < 12) return;
    const count = Math.floor(block.readUInt16LE(8) / 12);
    for (let index = 0; index < count; index++) {
      const from = block.readUInt16LE(index * 12 + 8);
      const to = index + 1 < count ? block.readUInt16LE(index * 12 + 20) : block.length;
      const name = block.toString("utf8", from, to).replace(/\0.*$/s, "");
      found.push({ name, nid: Number(block.readBigUInt64LE(index * 12)) });
    }
  };
  for (let at = entry.data.from, left = entry.sizeBytes; at < entry.data.to; at += blockBytes, left -= blockBytes) {
    collect(await read(at, Math.min(blockBytes, left)));
  }
  if (tailBytes > 0) collect(await read(tailAt, tailBytes));
  return found;
}

/** The name whose bytes hold an offset of the image; undefined for the superblock and what belongs to no name. */
export function entryAt(entries: readonly ErofsEntry[], offset: number): ErofsEntry | undefined {
  const holds = ({ from, to }: { from: number; to: number }) => offset >= from && offset < to;
  return entries.find(({ data }) => holds(data)) ?? entries.find(({ meta }) => holds(meta));
}

/** A name in which two erofs images differ, and how. */
export interface ErofsDifference {
  path: string;
  what: string;
  /** First differing byte of the content, in the second image, where it lies in blocks of its own. */
  offsetBytes?: number;
}

/** Names that two images do not have in common, or with other content or attributes; in the order of their paths. */
export async function compareErofs(a: DiskImage, b: DiskImage): Promise<ErofsDifference[]> {
  const [left, right] = await Promise.all([readErofs(a), readErofs(b)]);
  const other = new Map(right.map((entry) => [entry.path, entry]));
  const found: ErofsDifference[] = [];
  for (const entry of left) {
    const twin = other.get(entry.path);
    other.delete(entry.path);
    const what = twin === undefined ? "is in the first only" : difference(entry, twin);
    const offsetBytes =
      what === undefined && twin !== undefined ? await contentDifference(a, entry, b, twin) : undefined;
    if (what !== undefined) found.push({ path: entry.path, what });
    else if (offsetBytes !== undefined) found.push({ path: entry.path, what: "content", offsetBytes });
  }
  for (const path of other.keys()) found.push({ path, what: "is in the second only" });
  return found.toSorted((x, y) => (x.path < y.path ? -1 : 1));
}

/** How two names differ beside the content of their blocks. */
function difference(left: ErofsEntry, right: ErofsEntry): string | undefined {
  const pair = (one: string | number, two: string | number) => `${one} and ${two}`;
  if (left.mode !== right.mode) return `mode ${pair(left.mode.toString(8), right.mode.toString(8))}`;
  if (left.uid !== right.uid || left.gid !== right.gid) {
    return `owner ${pair(`${left.uid}:${left.gid}`, `${right.uid}:${right.gid}`)}`;
  }
  if (left.attributes !== right.attributes) return "extended attributes";
  // A directory's bytes name inodes by their place: its names are compared one by one.
  if ((left.mode & kinds.mask) === kinds.directory) return undefined;
  if (left.sizeBytes !== right.sizeBytes) return `size ${pair(left.sizeBytes, right.sizeBytes)} bytes`;
  if (left.device !== right.device) return `device ${pair(left.device, right.device)}`;
  const blocks = ({ data }: ErofsEntry) => data.to - data.from;
  return left.tail === right.tail && blocks(left) === blocks(right) ? undefined : "content";
}

/** First differing byte of two files' blocks, in the second image. */
async function contentDifference(
  a: DiskImage,
  left: ErofsEntry,
  b: DiskImage,
  right: ErofsEntry,
): Promise<number | undefined> {
  if ((left.mode & kinds.mask) === kinds.directory) return undefined;
  const length = right.data.to - right.data.from;
  const chunkBytes = 4 * 1024 * 1024;
  for (let at = 0; at < length; at += chunkBytes) {
    const size = Math.min(chunkBytes, length - at);
    const [one, two] = [await a.read(left.data.from + at, size), await b.read(right.data.from + at, size)];
    const index = differenceIn(one, two);
    if (index !== undefined) return right.data.from + at + index;
  }
  return undefined;
}

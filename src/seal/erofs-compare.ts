import { openErofs, type Erofs, type ErofsEntry } from "./erofs.ts";
import { differenceIn, type DiskImage } from "./verify-image.ts";

/** Path of what holds a byte of the image; undefined for the superblock and what belongs to no name. */
export function pathAt(image: Erofs, offset: number): string | undefined {
  const holds = ({ from, to }: { from: number; to: number }) => offset >= from && offset < to;
  const places = all(image).map((entry) => ({ path: entry.path, ...image.place(entry) }));
  return (places.find(({ data }) => holds(data)) ?? places.find(({ meta }) => holds(meta)))?.path;
}

/** The whole image, or the partition that starts with one, in memory. @throws Error as `openErofs` */
export async function loadErofs(image: DiskImage): Promise<{ bytes: Buffer; erofs: Erofs }> {
  const bytes = await image.read(0, image.sizeBytes);
  return { bytes, erofs: openErofs(bytes) };
}

/** A name in which two erofs images differ, and how. */
export interface ErofsDifference {
  path: string;
  what: string;
  /** First differing byte of the content, in the second image, where it lies in blocks of its own. */
  offsetBytes?: number;
}

/**
 * Names that two images do not have in common, or with other content or attributes; in the order of their paths.
 *
 * @throws Error when one of them is damaged in its metadata
 */
export async function compareErofs(a: DiskImage, b: DiskImage): Promise<ErofsDifference[]> {
  const left = await loadErofs(a);
  const right = await loadErofs(b);
  const other = new Map(all(right.erofs).map((entry) => [entry.path, entry]));
  const found: ErofsDifference[] = [];
  for (const entry of all(left.erofs)) {
    const twin = other.get(entry.path);
    other.delete(entry.path);
    const difference = twin === undefined ? { what: "is in the first only" } : differ(left, entry, right, twin);
    if (difference !== undefined) found.push({ path: entry.path, ...difference });
  }
  for (const path of other.keys()) found.push({ path, what: "is in the second only" });
  return found.toSorted((x, y) => (x.path < y.path ? -1 : 1));
}

function all(image: Erofs): ErofsEntry[] {
  return [image.find("/")!, ...image.entries()];
}

interface Loaded {
  bytes: Buffer;
  erofs: Erofs;
}

/** How two entries of one path differ. */
function differ(a: Loaded, left: ErofsEntry, b: Loaded, right: ErofsEntry): Omit<ErofsDifference, "path"> | undefined {
  const pair = (one: string | number, two: string | number) => `${one} and ${two}`;
  if (left.type !== right.type) return { what: `a ${left.type} and a ${right.type}` };
  if (left.mode !== right.mode) return { what: `mode ${pair(left.mode.toString(8), right.mode.toString(8))}` };
  if (left.uid !== right.uid || left.gid !== right.gid) {
    return { what: `owner ${pair(`${left.uid}:${left.gid}`, `${right.uid}:${right.gid}`)}` };
  }
  const [one, two] = [a.erofs.place(left), b.erofs.place(right)];
  if (!one.attributes.equals(two.attributes)) return { what: "extended attributes" };
  // A directory's bytes name inodes by their place: its names are compared one by one.
  if (left.type === "directory") return undefined;
  if (left.sizeBytes !== right.sizeBytes) return { what: `size ${pair(left.sizeBytes, right.sizeBytes)} bytes` };
  if (left.device !== right.device) return { what: `device ${pair(left.device ?? 0, right.device ?? 0)}` };
  const blocks = [a.bytes.subarray(one.data.from, one.data.to), b.bytes.subarray(two.data.from, two.data.to)] as const;
  if (!one.tail.equals(two.tail) || blocks[0].length !== blocks[1].length) return { what: "content" };
  const index = differenceIn(...blocks);
  return index === undefined ? undefined : { what: "content", offsetBytes: two.data.from + index };
}

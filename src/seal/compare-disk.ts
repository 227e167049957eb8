import type { Partition } from "../targets/gpt.ts";
import { gptTailBytes } from "../targets/gpt.ts";
import { compareErofs, loadErofs, pathAt } from "./erofs-compare.ts";
import { readCpio } from "./read-cpio.ts";
import { readSections } from "./uki.ts";
import { readBootFile } from "./verify-fat.ts";
import { verifyGpt } from "./verify-gpt.ts";
import { differenceIn, firstDifference, type DiskImage, type Finding } from "./verify-image.ts";

/** Decompresses the zstd archive at the start of an initrd; undefined where there is no tool for it. */
export type UnpackInitrd = (archive: Buffer) => Promise<Buffer | undefined>;

const headBytes = 34 * 512;
const mostListed = 20;

/**
 * What two disks differ in. The causes come first: files of the root, then the boot image and its parts, then what
 * follows from these (hash tree, partition table). Offsets are bytes of the second disk.
 */
export async function compareDisks(
  a: DiskImage,
  b: DiskImage,
  unpackInitrd: UnpackInitrd,
  signal: AbortSignal,
): Promise<Finding[]> {
  if ((await firstDifference(a, b, signal)) === undefined) return [];
  const [left, right] = await Promise.all([tableOf(a), tableOf(b)]);
  const found: Finding[] = [];
  const [espA, rootA, treeA] = left;
  const [espB, rootB, treeB] = right;
  if (rootA !== undefined && rootB !== undefined) found.push(...(await compareRoots(a, rootA, b, rootB, signal)));
  if (espA !== undefined && espB !== undefined) found.push(...(await compareBoot(a, espA, b, espB, unpackInitrd)));
  if (treeA !== undefined && treeB !== undefined) {
    const at = await firstDifference(within(a, treeA), within(b, treeB), signal);
    const message = found.some(({ structure }) => structure.startsWith("root"))
      ? "differs, as the root does"
      : "differs";
    if (at !== undefined) found.push({ structure: "hash tree", offsetBytes: treeB.firstByte + at, message });
  }
  for (const [structure, from, length] of [
    ["partition table (primary)", 0, headBytes],
    ["partition table (backup)", b.sizeBytes - gptTailBytes, gptTailBytes],
  ] as const) {
    if (Math.min(a.sizeBytes, b.sizeBytes) < headBytes + gptTailBytes) break;
    const one = await a.read(from === 0 ? 0 : a.sizeBytes - gptTailBytes, length);
    const index = differenceIn(one, await b.read(from, length));
    if (index !== undefined) found.push({ structure, offsetBytes: from + index, message: "differs" });
  }
  if (a.sizeBytes !== b.sizeBytes) {
    found.push({ structure: "disk", message: `has ${a.sizeBytes} and ${b.sizeBytes} bytes` });
  }
  if (found.length > 0) return found;
  const offsetBytes = await firstDifference(a, b, signal);
  return [{ structure: "unused space", offsetBytes, message: "differs" }];
}

/** The partitions inside the disk; a disk without a readable table has none. */
async function tableOf(image: DiskImage): Promise<Partition[]> {
  const { partitions } = await verifyGpt(image);
  return partitions.filter(({ firstByte, sizeBytes }) => sizeBytes > 0 && firstByte + sizeBytes <= image.sizeBytes);
}

/** A partition as an image of its own. */
export function within(image: DiskImage, { firstByte, sizeBytes }: Partition): DiskImage {
  return {
    sizeBytes,
    read(offset, length) {
      if (offset + length > sizeBytes) return Promise.reject(new Error(`the partition ends at byte ${sizeBytes}`));
      return image.read(firstByte + offset, length);
    },
    close: () => Promise.resolve(),
  };
}

async function compareRoots(
  a: DiskImage,
  partitionA: Partition,
  b: DiskImage,
  partitionB: Partition,
  signal: AbortSignal,
): Promise<Finding[]> {
  const [one, two] = [within(a, partitionA), within(b, partitionB)];
  const at = await firstDifference(one, two, signal);
  if (at === undefined) return [];
  try {
    const files = await compareErofs(one, two);
    if (files.length > 0) {
      const findings: Finding[] = files.slice(0, mostListed).map(({ path, what, offsetBytes }) => ({
        structure: `root, ${path}`,
        message: what,
        ...(offsetBytes === undefined ? {} : { offsetBytes: partitionB.firstByte + offsetBytes }),
      }));
      const more = files.length - findings.length;
      return more === 0 ? findings : [...findings, { structure: "root", message: `and ${more} more files` }];
    }
  } catch {
    // The second one may be damaged: the first one says what was there.
  }
  const path = await loadErofs(one).then(
    ({ erofs }) => pathAt(erofs, at),
    () => undefined,
  );
  const structure = path === undefined ? "root, metadata of the file system" : `root, ${path}`;
  return [{ structure, offsetBytes: partitionB.firstByte + at, message: "differs" }];
}

async function compareBoot(
  a: DiskImage,
  espA: Partition,
  b: DiskImage,
  espB: Partition,
  unpackInitrd: UnpackInitrd,
): Promise<Finding[]> {
  const [left, right] = [await within(a, espA).read(0, espA.sizeBytes), await within(b, espB).read(0, espB.sizeBytes)];
  const index = differenceIn(left, right);
  if (index === undefined) return [];
  const at = (offset: number) => espB.firstByte + offset;
  const around = { structure: "boot partition, file system", offsetBytes: at(index), message: "differs" };
  try {
    const [fileA, fileB] = [readBootFile(left), readBootFile(right)];
    const [ukiA, ukiB] = (
      [
        [left, fileA],
        [right, fileB],
      ] as const
    ).map(([esp, { firstByte, sizeBytes }]) => esp.subarray(firstByte, firstByte + sizeBytes));
    const inside = await compareUkis(ukiA!, ukiB!, unpackInitrd);
    return inside.length === 0
      ? [around]
      : inside.map((one) => ({ ...one, offsetBytes: at(fileB.firstByte + (one.offsetBytes ?? 0)) }));
  } catch {
    return [around];
  }
}

/** Differing parts of two boot images; offsets are bytes of the second. */
export async function compareUkis(a: Buffer, b: Buffer, unpackInitrd: UnpackInitrd): Promise<Finding[]> {
  const index = differenceIn(a, b);
  if (index === undefined) return [];
  const found: Finding[] = [];
  const right = new Map(readSections(b).map((section) => [section.name, section]));
  for (const section of readSections(a)) {
    const twin = right.get(section.name);
    right.delete(section.name);
    const structure = `boot image, ${section.name}`;
    if (twin === undefined) {
      found.push({ structure, message: "is in the first only" });
      continue;
    }
    const one = a.subarray(section.offset, section.offset + section.sizeBytes);
    const two = b.subarray(twin.offset, twin.offset + twin.sizeBytes);
    const at = differenceIn(one, two);
    if (at === undefined) continue;
    const inside = section.name === ".initrd" ? await compareInitrds(one, two, unpackInitrd) : [];
    if (inside.length === 0) found.push({ structure, offsetBytes: twin.offset + at, message: "differs" });
    for (const { path, what } of inside) {
      found.push({ structure: `${structure}, ${path}`, offsetBytes: twin.offset + at, message: what });
    }
  }
  for (const [name, { offset }] of right) {
    found.push({ structure: `boot image, ${name}`, offsetBytes: offset, message: "is in the second only" });
  }
  if (found.length > 0) return found;
  const end = Math.max(...readSections(b).map(({ offset, sizeBytes }) => offset + sizeBytes));
  const structure = index >= end ? "boot image, signature" : "boot image, headers or stub";
  return [{ structure, offsetBytes: index, message: "differs" }];
}

/**
 * Names in the two archives of an initrd, the compressed base and the cluster layer, that differ; none when one of them
 * cannot be read.
 */
async function compareInitrds(
  a: Buffer,
  b: Buffer,
  unpackInitrd: UnpackInitrd,
): Promise<{ path: string; what: string }[]> {
  const [left, right] = [await entriesOf(a, unpackInitrd), await entriesOf(b, unpackInitrd)];
  const found: { path: string; what: string }[] = [];
  if (left === undefined || right === undefined) return [];
  for (const [path, entry] of left) {
    const twin = right.get(path);
    right.delete(path);
    if (twin === undefined) found.push({ path, what: "is in the first only" });
    else if (!entry.content.equals(twin.content)) found.push({ path, what: "content" });
    else if (entry.header !== twin.header) found.push({ path, what: "mode, owner or time" });
  }
  for (const path of right.keys()) found.push({ path, what: "is in the second only" });
  return found;
}

/** Where the uncompressed archive at an initrd's end starts: the first place from which one can be read. */
function layerStart(initrd: Buffer): number {
  for (let at = initrd.indexOf("070701"); at >= 0; at = initrd.indexOf("070701", at + 1)) {
    try {
      readCpio(initrd.subarray(at));
      return at;
    } catch {
      // a chance match in the compressed part
    }
  }
  return initrd.length;
}

async function entriesOf(
  initrd: Buffer,
  unpackInitrd: UnpackInitrd,
): Promise<Map<string, { header: string; content: Buffer }> | undefined> {
  const layerAt = layerStart(initrd);
  const entries = new Map<string, { header: string; content: Buffer }>();
  try {
    const base = await unpackInitrd(initrd.subarray(0, layerAt));
    if (base === undefined) return undefined;
    for (const archive of [base, initrd.subarray(layerAt)]) {
      if (archive.length === 0) continue;
      for (const { path, header, content } of readCpio(archive)) entries.set(path, { header, content });
    }
  } catch {
    return undefined;
  }
  return entries;
}

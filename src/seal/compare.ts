import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { hashFile } from "../store/store.ts";
import { compareDisks, type UnpackInitrd } from "./compare-disk.ts";
import { manifestFiles, parseManifest, type Manifest } from "./manifest.ts";
import { openArtifact } from "./verify-artifact.ts";
import { differenceIn, openRaw, type DiskImage, type Finding } from "./verify-image.ts";

/** A file in which two outputs differ, and what in it, the causes first: a file of the root before its hash tree. */
export interface FileDifference {
  file: string;
  findings: Finding[];
}

export interface CompareOptions {
  /** Empty directory for what has to be unpacked. */
  scratch: string;
  unpackInitrd: UnpackInitrd;
  signal: AbortSignal;
  /** Compare these files only. */
  only?: readonly string[];
}

/**
 * Compares two output directories of builds, byte by byte, and names the first differing file or structure inside each
 * differing file. Files that only one of them has are differences too.
 */
export async function compareOutputs(a: string, b: string, options: CompareOptions): Promise<FileDifference[]> {
  const [left, right] = await Promise.all([readdir(a), readdir(b)]);
  const names = [...new Set([...left, ...right])].toSorted();
  const found: FileDifference[] = [];
  for (const file of names.filter((name) => options.only?.includes(name) ?? true)) {
    options.signal.throwIfAborted();
    const findings =
      left.includes(file) && right.includes(file)
        ? await compareFiles(a, b, file, options)
        : [{ structure: "file", message: `is in the ${left.includes(file) ? "first" : "second"} only` }];
    if (findings.length > 0) found.push({ file, findings });
  }
  return found;
}

async function compareFiles(a: string, b: string, file: string, options: CompareOptions): Promise<Finding[]> {
  const paths = [join(a, file), join(b, file)] as const;
  const [sizeA, sizeB] = await Promise.all(paths.map(async (path) => (await stat(path)).size));
  if (sizeA === sizeB) {
    const [hashA, hashB] = await Promise.all(paths.map((path) => hashFile(path, options.signal)));
    if (hashA === hashB) return [];
  }
  const manifest = await readManifest(a);
  const target = manifest?.artifacts.find((artifact) => artifact.file === file)?.target;
  if (manifest === undefined || target === undefined) return [await firstByte(paths)];
  const disks: DiskImage[] = [];
  try {
    for (const path of paths) {
      const disk = await openArtifact(target, path, options.scratch, manifest, options.signal);
      if (disk === undefined) return [await firstByte(paths)];
      disks.push(disk);
    }
    const inside = await compareDisks(disks[0]!, disks[1]!, options.unpackInitrd, options.signal);
    if (inside.length > 0) return inside;
    const { offsetBytes } = await firstByte(paths);
    return [{ structure: `${target} container`, offsetBytes, message: "differs; the disk in it is the same" }];
  } catch (error) {
    options.signal.throwIfAborted();
    const { offsetBytes } = await firstByte(paths);
    return [{ structure: "disk", offsetBytes, message: `differs, and cannot be read: ${(error as Error).message}` }];
  } finally {
    for (const disk of disks) await disk.close();
  }
}

async function readManifest(directory: string): Promise<Manifest | undefined> {
  const text = await readFile(join(directory, manifestFiles.manifest), "utf8").catch(() => "");
  try {
    return parseManifest(text, manifestFiles.manifest);
  } catch {
    return undefined;
  }
}

/** For texts the line as well. */
async function firstByte([a, b]: readonly [string, string]): Promise<Finding & { offsetBytes: number }> {
  const [one, two] = [await openRaw(a), await openRaw(b)];
  try {
    const common = Math.min(one.sizeBytes, two.sizeBytes);
    const chunkBytes = 4 * 1024 * 1024;
    let lines = 1;
    for (let at = 0; at < common; at += chunkBytes) {
      const length = Math.min(chunkBytes, common - at);
      const [left, right] = [await one.read(at, length), await two.read(at, length)];
      const index = differenceIn(left, right);
      lines += left.subarray(0, index ?? length).filter((byte) => byte === 10).length;
      if (index === undefined) continue;
      const text = /\.(json|jsonl|pem|pub|sig)$/.test(a);
      return { structure: text ? `line ${lines}` : "byte", offsetBytes: at + index, message: "differs" };
    }
    return { structure: "end", offsetBytes: common, message: `${one.sizeBytes} and ${two.sizeBytes} bytes` };
  } finally {
    await one.close();
    await two.close();
  }
}

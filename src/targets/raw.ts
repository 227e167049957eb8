import { open, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { gptTailBytes, guidFromHash, partitionTypes, writeGpt, type Partition } from "./gpt.ts";

const mebibyte = 1024 * 1024;
/** A seed is at most 1 MiB and a header. */
const seedBytes = 2 * mebibyte;
const chunkBytes = 4 * mebibyte;

/**
 * Writes the raw disk image: GPT with the EFI system partition, the root, its hash tree, and an empty partition for a
 * node's seed where no disk for it can be attached (metal). Returns where that one begins. Partition names carry the
 * start of the root hash, so that a node never takes the root of another version on the same machine. Runs of zeros
 * are left as holes.
 */
export async function writeRawImage(
  output: string,
  parts: { esp: string; root: string; verity: string },
  rootHash: string,
  signal: AbortSignal,
): Promise<{ seedAt: number }> {
  const short = rootHash.slice(0, 16);
  const wanted = [
    { file: parts.esp, name: "kubedos-esp", type: partitionTypes.esp, id: guidFromHash(`e5b0${rootHash}`) },
    {
      file: parts.root,
      name: `kubedos-root-${short}`,
      type: partitionTypes.rootX8664,
      id: plainGuid(rootHash.slice(0, 32)),
    },
    {
      file: parts.verity,
      name: `kubedos-hash-${short}`,
      type: partitionTypes.rootVerityX8664,
      id: plainGuid(rootHash.slice(32)),
    },
  ];
  const partitions: (Partition & { file?: string })[] = [];
  let position = mebibyte;
  for (const { file, ...rest } of wanted) {
    const sizeBytes = Math.ceil((await stat(file)).size / mebibyte) * mebibyte;
    partitions.push({ ...rest, file, firstByte: position, sizeBytes });
    position += sizeBytes;
  }
  const seedAt = position;
  partitions.push({
    name: "kubedos-seed",
    type: partitionTypes.linuxData,
    id: guidFromHash(`5eed${rootHash}`),
    firstByte: seedAt,
    sizeBytes: seedBytes,
  });
  position += seedBytes;
  const diskBytes = position + Math.ceil(gptTailBytes / mebibyte) * mebibyte;
  const table = writeGpt(diskBytes, guidFromHash(`d15c${rootHash}`), partitions);

  const image = await open(output, "wx");
  try {
    await image.truncate(diskBytes);
    await writeAll(image, table.head, 0);
    for (const { firstByte, file } of partitions) {
      if (file !== undefined) await copyInto(image, firstByte, file, signal);
    }
    await writeAll(image, table.tail, table.tailOffset);
  } finally {
    await image.close();
  }
  return { seedAt };
}

/** The discoverable partitions specification wants the root hash itself as the ids of root and hash partition. */
function plainGuid(hex: string): string {
  return hex.toUpperCase().replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** The kernel may take less than it was given, on a disk that fills up above all. */
async function writeAll(image: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += (await image.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
  }
}

async function copyInto(image: FileHandle, at: number, file: string, signal: AbortSignal): Promise<void> {
  const source = await open(file);
  try {
    const buffer = Buffer.alloc(chunkBytes);
    const zero = Buffer.alloc(chunkBytes);
    for (let position = 0; ;) {
      signal.throwIfAborted();
      const { bytesRead } = await source.read(buffer, 0, chunkBytes, position);
      if (bytesRead === 0) return;
      const chunk = buffer.subarray(0, bytesRead);
      if (!chunk.equals(zero.subarray(0, bytesRead))) await writeAll(image, chunk, at + position);
      position += bytesRead;
    }
  } finally {
    await source.close();
  }
}

import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { readChunks, writeWhole } from "./chunks.ts";
import { ovfDescriptor } from "./ovf.ts";
import { tarEnd, tarPadding, ustarHeader } from "./tar.ts";

const names = { descriptor: "kubedos.ovf", manifest: "kubedos.mf", disk: "kubedos-disk1.vmdk" } as const;
const chunkBytes = 1024 * 1024;

/**
 * Writes an OVA (DMTF DSP0243, section 5.3): a ustar archive of the descriptor, the manifest with SHA-256 digests, and
 * the disk, in the order that lets a reader stream it.
 */
export async function writeOva(
  vmdk: string,
  hardware: { cpus: number; memoryMiB: number },
  output: string,
  epoch: number,
  signal: AbortSignal,
): Promise<void> {
  // 1. The disk's hash and size; the archive begins with what is said about it.
  const hash = createHash("sha256");
  let fileBytes = 0;
  let diskBytes = 0;
  for await (const { firstByte, bytes } of readChunks(vmdk, chunkBytes, signal)) {
    hash.update(bytes);
    fileBytes += bytes.length;
    if (firstByte === 0) diskBytes = Number(bytes.readBigUInt64LE(12)) * 512; // the capacity in its header
  }
  const descriptor = Buffer.from(ovfDescriptor({ disk: names.disk, fileBytes, diskBytes, ...hardware }));
  const manifest = Buffer.from(
    `SHA256(${names.descriptor})= ${createHash("sha256").update(descriptor).digest("hex")}\n` +
      `SHA256(${names.disk})= ${hash.digest("hex")}\n`,
  );
  // 2. The archive.
  const target = await open(output, "wx");
  try {
    let position = 0;
    const append = async (bytes: Uint8Array) => {
      await writeWhole(target, bytes, position);
      position += bytes.length;
    };
    for (const [name, bytes] of [
      [names.descriptor, descriptor],
      [names.manifest, manifest],
    ] as const) {
      await append(ustarHeader(name, bytes.length, epoch));
      await append(bytes);
      await append(Buffer.alloc(tarPadding(bytes.length)));
    }
    await append(ustarHeader(names.disk, fileBytes, epoch));
    for await (const { bytes } of readChunks(vmdk, chunkBytes, signal)) await append(bytes);
    await append(tarEnd);
  } finally {
    await target.close();
  }
}

import { createHash } from "node:crypto";
import type { Manifest } from "./manifest.ts";
import { readSections } from "./uki.ts";
import { readBootFile } from "./verify-fat.ts";
import { verifyGpt } from "./verify-gpt.ts";
import type { DiskImage } from "./verify-image.ts";

/**
 * The boot image of a disk, and the cluster layer's archive in it, which is what the manifest says.
 *
 * @throws Error when one of them is not there, or the layer is altered
 */
export async function readBootImage(image: DiskImage, { boot }: Manifest): Promise<{ uki: Buffer; layer: Buffer }> {
  const { partitions } = await verifyGpt(image);
  const [esp] = partitions;
  if (esp === undefined) throw new Error("no boot partition");
  const bytes = await image.read(esp.firstByte, esp.sizeBytes);
  const { firstByte, sizeBytes } = readBootFile(bytes);
  const uki = bytes.subarray(firstByte, firstByte + sizeBytes);
  const initrd = readSections(uki).find(({ name }) => name === ".initrd");
  if (initrd === undefined) throw new Error("the boot image has no initrd");
  const end = initrd.offset + initrd.sizeBytes;
  const layer = uki.subarray(end - boot.layer.sizeBytes, end);
  if (createHash("sha256").update(layer).digest("hex") !== boot.layer.sha256) {
    throw new Error("the cluster layer is altered");
  }
  return { uki, layer };
}

import { KubedosError } from "../../../shared/error.ts";

const zstdMagic = 0xfd2fb528;
const sectorBytes = 512;

/**
 * The compressed kernel inside of a bzImage: one zstd frame, whose content is an ELF file.
 *
 * @see https://docs.kernel.org/arch/x86/boot.html (`setup_sects`, `payload_offset`, `payload_length`)
 * @throws KubedosError when it is no bzImage, or compressed otherwise
 */
export function kernelPayload(bzImage: Buffer): Buffer {
  if (bzImage.length < 0x260 || bzImage.toString("latin1", 0x202, 0x206) !== "HdrS") {
    throw new KubedosError("failed", "the kernel is not a bzImage", { hint: "Debian's kernels for amd64 are" });
  }
  const setupSectors = bzImage[0x1f1]! || 4;
  const start = (setupSectors + 1) * sectorBytes + bzImage.readUInt32LE(0x248);
  const length = bzImage.readUInt32LE(0x24c);
  // The kernel's build appends the size after decompression, 4 bytes that are no part of the frame.
  const payload = bzImage.subarray(start, start + length - 4);
  if (length < 8 || start + length > bzImage.length || payload.readUInt32LE(0) !== zstdMagic) {
    throw new KubedosError("failed", "the kernel's payload is not compressed with zstd", {
      hint: "build the target `firecracker` with a kernel of Debian 13 or later",
    });
  }
  return payload;
}

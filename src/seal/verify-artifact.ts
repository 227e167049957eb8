import { open } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../host/run.ts";
import { sectorBytes } from "../targets/gpt.ts";
import type { Manifest } from "./manifest.ts";
import { openQcow2, openRaw, type DiskImage } from "./verify-image.ts";
import { verifyTool } from "./verify-tools.ts";

/** Artifacts that are no disk: their hash speaks for them; a medium's writer checks the image that it holds. */
export const disklessTargets: readonly string[] = [
  "darksite",
  "iso",
  "netboot",
  "netinst",
  "firecracker",
  "packer",
  "terraform",
];

/**
 * The disk in an artifact. raw, qcow2 and vhd are read in place; the other formats are unpacked into `scratch`.
 * Undefined where a format needs a tool that is not there.
 *
 * @throws Error or KubedosError when the artifact is not of its format
 */
export async function openArtifact(
  target: string,
  file: string,
  scratch: string,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<DiskImage | undefined> {
  switch (target) {
    case "raw":
    case "metal":
      return openRaw(file);
    case "qcow2":
      return openQcow2(file);
    case "vhd":
      return openPadded(file);
    case "gce": {
      await run("tar", ["--extract", "--gzip", `--directory=${scratch}`, `--file=${file}`, "disk.raw"], { signal });
      return openPadded(join(scratch, "disk.raw"));
    }
    case "vmdk":
    case "vhdx":
      return unpack(target, file, undefined, scratch, manifest, signal);
    case "ova":
      return unpack("vmdk", file, await diskOfOva(file), scratch, manifest, signal);
    default:
      return undefined;
  }
}

/** Formats that fill the disk up, or put something after it: its partition table says where it ends. */
async function openPadded(file: string): Promise<DiskImage> {
  const whole = await openRaw(file);
  try {
    const lastSector = Number((await whole.read(sectorBytes, sectorBytes)).readBigUInt64LE(32));
    const sizeBytes = (lastSector + 1) * sectorBytes;
    return await openRaw(file, sizeBytes <= whole.sizeBytes ? sizeBytes : undefined);
  } finally {
    await whole.close();
  }
}

async function unpack(
  format: string,
  file: string,
  part: { offset: number; size: number } | undefined,
  scratch: string,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<DiskImage | undefined> {
  const tool = await verifyTool("qemu-img", manifest, signal);
  if (tool === undefined) return undefined;
  const source = (input: string) =>
    part === undefined
      ? ["-f", format, input]
      : [
          `json:${JSON.stringify({ driver: format, file: { driver: "raw", ...part, file: { driver: "file", filename: input } } })}`,
        ];
  const result = await tool({
    args: (input, output) => ["convert", "-O", "raw", ...source(input("image")), output("disk.raw")],
    inputs: { image: file },
    out: scratch,
  });
  if (result.status !== 0) throw new Error(`qemu-img cannot read it: ${result.text.trim()}`);
  return openRaw(join(scratch, "disk.raw"));
}

/** Where the disk of an OVA is: the third member of the ustar archive, after descriptor and manifest. */
async function diskOfOva(file: string): Promise<{ offset: number; size: number }> {
  const handle = await open(file);
  try {
    const header = Buffer.alloc(512);
    for (let at = 0, index = 0; ; index++) {
      await handle.read(header, 0, 512, at);
      const size = Number.parseInt(header.toString("latin1", 124, 135), 8);
      if (header.toString("latin1", 257, 262) !== "ustar" || Number.isNaN(size))
        throw new Error(`no tar header at byte ${at}`);
      if (index === 2) return { offset: at + 512, size };
      at += 512 + Math.ceil(size / 512) * 512;
    }
  } finally {
    await handle.close();
  }
}

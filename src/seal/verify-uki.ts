import { createHash } from "node:crypto";
import { readCpio } from "./read-cpio.ts";
import { readSections } from "./uki.ts";
import type { Content, Manifest } from "./manifest.ts";
import type { Finding } from "./verify-image.ts";

/** What a boot image holds, read from its own bytes. */
export interface BootImage {
  commandLine: string;
  /** Of `kubedos.root=` on the signed command line. */
  root: { blocks: number; rootHash: string; salt: string };
  /** Files of the cluster layer by path below `kubedos/layer/`. */
  layer: Map<string, string>;
}

const certificateDirectory = 144; // of a PE32+ optional header: directory 4, attribute certificates
const checksum = 64;

/** Compares a boot image, section by section, with what the manifest says. Offsets are into the boot image. */
export function verifyUki(uki: Buffer, { boot }: Manifest): Finding[] {
  if (matches(uki, boot.signed)) return [];
  const findings: Finding[] = [];
  let sections: ReturnType<typeof readSections>;
  try {
    sections = readSections(uki);
  } catch (error) {
    return [{ structure: "boot image, headers", offsetBytes: 0, message: (error as Error).message }];
  }
  const at = (name: string) => sections.find((section) => section.name === name);
  const compare = (structure: string, offsetBytes: number, wanted: Content) => {
    if (matches(uki.subarray(offsetBytes, offsetBytes + wanted.sizeBytes), wanted)) return;
    findings.push({ structure, offsetBytes, message: `its ${wanted.sizeBytes} bytes are altered` });
  };
  const initrd = at(".initrd");
  for (const [name, wanted] of [
    [".linux", boot.kernel],
    [".cmdline", boot.commandLine],
  ] as const) {
    const section = at(name);
    if (section === undefined) findings.push({ structure: `boot image, ${name}`, message: "is missing" });
    else compare(`boot image, ${name}`, section.offset, wanted);
  }
  if (initrd === undefined) findings.push({ structure: "boot image, .initrd", message: "is missing" });
  else {
    compare("boot image, .initrd", initrd.offset, boot.initrd);
    const end = initrd.offset + initrd.sizeBytes;
    compare("boot image, cluster layer", end - boot.layer.sizeBytes, boot.layer);
  }
  if (findings.length > 0) return findings;
  const offsetBytes = boot.unsigned.sizeBytes;
  return matches(withoutSignature(uki, boot.unsigned.sizeBytes), boot.unsigned)
    ? [{ structure: "boot image, signature", offsetBytes, message: "the attached signature is altered" }]
    : [{ structure: "boot image, stub", offsetBytes: 0, message: "headers, EFI stub or padding are altered" }];
}

/** @throws Error when the boot image has no such content */
export function readUki(uki: Buffer, layerBytes: number): BootImage {
  const sections = readSections(uki);
  const content = (name: string) => {
    const found = sections.find((section) => section.name === name);
    if (found === undefined) throw new Error(`the boot image has no section ${name}`);
    return uki.subarray(found.offset, found.offset + found.sizeBytes);
  };
  const commandLine = content(".cmdline").toString();
  const [, blocks, rootHash, salt] =
    / kubedos\.root=(\d+):([0-9a-f]{64}):((?:[0-9a-f]{2}){0,256})$/.exec(commandLine) ?? [];
  if (blocks === undefined || rootHash === undefined || salt === undefined) {
    throw new Error("the command line does not end with kubedos.root=");
  }
  const initrd = content(".initrd");
  return {
    commandLine,
    root: { blocks: Number(blocks), rootHash, salt },
    layer: readLayer(initrd.subarray(initrd.length - layerBytes)),
  };
}

/** The image as it was before sbsign: no certificate table, its directory entry and the checksum zero. */
function withoutSignature(uki: Buffer, sizeBytes: number): Buffer {
  const image = Buffer.from(uki.subarray(0, sizeBytes));
  const optional = image.readUInt32LE(0x3c) + 24;
  image.fill(0, optional + checksum, optional + checksum + 4);
  image.fill(0, optional + certificateDirectory, optional + certificateDirectory + 8);
  return image;
}

function readLayer(archive: Buffer): Map<string, string> {
  const prefix = "kubedos/layer/";
  const inLayer = readCpio(archive).filter(({ path }) => path.startsWith(prefix));
  return new Map(inLayer.map(({ path, content }) => [path.slice(prefix.length), content.toString()]));
}

function matches(bytes: Buffer, { sha256, sizeBytes }: Content): boolean {
  return bytes.length === sizeBytes && createHash("sha256").update(bytes).digest("hex") === sha256;
}

import { constants } from "node:fs";
import { copyFile, mkdir, open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { locateFoundry } from "../../src/assemble/foundry.ts";
import { runInSandbox } from "../../src/host/sandbox.ts";
import type { BuiltLab, Scratch } from "./support.ts";

/** A writable copy of the manufactured image. */
export async function copyImage(scratch: Scratch, lab: BuiltLab, name: string): Promise<string> {
  const directory = join(scratch.directory, "images");
  await mkdir(directory, { recursive: true });
  const copy = join(directory, `${name}.raw`);
  await copyFile(lab.built.image.path, copy, constants.COPYFILE_FICLONE);
  const handle = await open(copy, "r+");
  await handle.chmod(0o600);
  await handle.close();
  return copy;
}

/** Changes one bit of the byte at an offset. */
export async function flip(file: string, offset: number): Promise<void> {
  const handle = await open(file, "r+");
  try {
    const byte = Buffer.alloc(1);
    await handle.read(byte, 0, 1, offset);
    byte[0]! ^= 0x04;
    await handle.write(byte, 0, 1, offset);
  } finally {
    await handle.close();
  }
}

/** First byte of a partition, from the image's partition table. */
export async function partitionOffset(image: string, name: string): Promise<number> {
  const handle = await open(image);
  try {
    const table = Buffer.alloc(16 * 1024);
    await handle.read(table, 0, table.length, 1024);
    for (let at = 0; at < table.length; at += 128) {
      const entryName = table.toString("utf16le", at + 56, at + 128).replace(/\0+$/, "");
      if (entryName.startsWith(name)) return Number(table.readBigUInt64LE(at + 32)) * 512;
    }
  } finally {
    await handle.close();
  }
  throw new Error(`${image} has no partition ${name}`);
}

/** Puts another boot image into the EFI system partition. */
export async function replaceUki(lab: BuiltLab, image: string, uki: string): Promise<void> {
  const disk = `/out/${basename(image)}@@${await partitionOffset(image, "kubedos-esp")}`;
  const command = ["mcopy", "-o", "-i", disk, "/in/uki", "::/EFI/BOOT/BOOTX64.EFI"] as const;
  await sandbox(lab, command, { uki }, dirname(image));
}

/** Offset in the erofs image of the first compressed block of a file. */
export async function firstBlockOf(scratch: Scratch, lab: BuiltLab, path: string): Promise<number> {
  const root = lab.built.root.path;
  const out = join(scratch.directory, "out");
  const text = await sandbox(lab, ["dump.erofs", `--path=${path}`, "-e", "/in/root"], { root }, out);
  // `   0:        0..   65536 |   65536 :   12345344..  12369920 |   24576`
  const extent = /^\s*0:\s*\d+\.\.\s*\d+\s*\|\s*\d+\s*:\s*(\d+)\.\./m.exec(text);
  if (extent === null) throw new Error(`no extent of ${path}:\n${text}`);
  return Number(extent[1]);
}

/** Runs one of the foundry's tools on files; what it makes is in `out`. @returns its standard output */
export async function sandbox(
  { project }: Pick<BuiltLab, "project">,
  command: readonly [string, ...string[]],
  inputs: Record<string, string>,
  out: string,
): Promise<string> {
  const { directory } = locateFoundry(project.lock, project.store);
  const result = await runInSandbox({ root: directory, command, inputs, out, epoch: project.lock.epoch });
  return result.stdout;
}

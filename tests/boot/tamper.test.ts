import { chmod, copyFile, open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildSeed } from "../../src/fabric/seed.ts";
import { readSections } from "../../src/seal/uki.ts";
import { copyImage, firstBlockOf, flip, partitionOffset, replaceUki } from "./image.ts";
import { withMachine, type Machine } from "./machine.ts";
import { buildLab, makeScratch, type BuiltLab, type Scratch } from "./support.ts";

// One bit of what was manufactured is changed, or somebody else's boot image put in its place: no such machine may start.
let scratch: Scratch;
let lab: BuiltLab;
let other: BuiltLab;
beforeAll(async () => {
  scratch = await makeScratch();
  lab = await buildLab(scratch, "own");
  other = await buildLab(scratch, "other", lab);
});
afterAll(() => scratch?.remove());

async function boot(name: string, image: string, use: (machine: Machine) => Promise<void>): Promise<void> {
  const { spec, vault } = lab.project;
  const [, node] = spec.nodes;
  const seed = buildSeed(spec, vault, node!.name).disk;
  await withMachine(scratch, { name, node: node!, image, firmware: lab.built.firmware, seed }, use);
}

/** A copy of the signed boot image with one bit changed in the middle of a section. */
async function damagedUki(section: string): Promise<string> {
  const damaged = join(scratch.directory, `damaged${section}`);
  await copyFile(lab.uki.signed, damaged);
  await chmod(damaged, 0o600);
  const found = readSections(await readFile(damaged)).find(({ name }) => name === section);
  await flip(damaged, found!.offset + Math.floor(found!.sizeBytes / 2));
  return damaged;
}

test.concurrent("control: the image as manufactured starts systemd from the sealed root", async () => {
  await boot("control", await copyImage(scratch, lab, "control"), async (machine) => {
    await machine.reaches("sealed");
    await machine.reaches("rendered");
    expect(await machine.console()).not.toMatch(/boot stopped|panic|corrupted/);
  });
});

describe.concurrent("the firmware refuses a boot image", () => {
  const cases = {
    "with one bit changed in its initrd": () => damagedUki(".initrd"),
    "with one bit changed in its command line": () => damagedUki(".cmdline"),
    "with one bit changed in its kernel": () => damagedUki(".linux"),
    "without a signature": async () => lab.uki.unsigned,
    "signed by another foundry": async () => other.uki.signed,
  };
  test.each(Object.entries(cases))("%s", async (title, makeUki) => {
    const name = title.replaceAll(" ", "-");
    const image = await copyImage(scratch, lab, name);
    await replaceUki(lab, image, await makeUki());
    await boot(name, image, async (machine) => {
      // The firmware has tried everything it has when it says this.
      await machine.shows(/BdsDxe: No bootable option or device was found/);
      const console = await machine.console();
      expect(console).toMatch(/failed to (load|start) Boot.*(Access Denied|Security Violation)/);
      expect(console).not.toMatch(/kubedos:|BdsDxe: starting/);
      expect(await machine.events()).toEqual([]);
    });
  });
});

describe.concurrent("the kernel refuses a root", () => {
  const cases = {
    "with one bit changed in the file system's superblock": async (image: string) =>
      flip(image, (await partitionOffset(image, "kubedos-root-")) + 1024 + 20),
    "with one bit changed in a library that is read at boot": async (image: string) => {
      const library = "/usr/lib/x86_64-linux-gnu/systemd/libsystemd-core-257.so";
      const block = await firstBlockOf(scratch, lab, library);
      await flip(image, (await partitionOffset(image, "kubedos-root-")) + block + 4_321);
    },
    "with one bit changed in the top block of its hash tree": async (image: string) =>
      flip(image, (await partitionOffset(image, "kubedos-hash-")) + 8),
    "with a hash tree of zeros": async (image: string) => {
      const handle = await open(image, "r+");
      await handle.write(Buffer.alloc(64 * 1024), 0, 64 * 1024, await partitionOffset(image, "kubedos-hash-"));
      await handle.close();
    },
  };
  test.each(Object.entries(cases))("%s", async (title, damage) => {
    const name = title.replaceAll(/\W/g, "-");
    const image = await copyImage(scratch, lab, name);
    await damage(image);
    await boot(name, image, async (machine) => {
      await machine.shows(/Kernel panic - not syncing: dm-verity device corrupted/);
      expect(await machine.console()).toMatch(/device-mapper: verity: .*(data|metadata) block \d+ is corrupted/);
      const phases = (await machine.events()).flatMap((event) => (event.type === "node.phase" ? [event.phase] : []));
      expect(phases.filter((phase) => phase !== "sealed")).toEqual([]);
    });
  });
});

import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fakeGrains, writeImage, type Run } from "../../tests/fakes/disk-images.ts";
import { run } from "../host/run.ts";
import { crc32c } from "./crc32c.ts";
import { writeGceTar } from "./gce.ts";
import { writeOva } from "./ova.ts";
import { vhdFooter, vhdGeometry, writeVhd } from "./vhd.ts";
import { writeVhdx } from "./vhdx.ts";
import { grainBytes, writeVmdk } from "./vmdk.ts";

const epoch = 1_760_000_000;
const { signal } = new AbortController();
const mebibyteSectors = 2048;

let directory: string;
let serial = 0;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-targets-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function image(sectors: number, runs: readonly Run[]): Promise<string> {
  const file = join(directory, `${serial++}.raw`);
  await writeImage(file, sectors, runs);
  return file;
}

async function vmdk(raw: string, output: string): Promise<void> {
  const grains = `${output}.grains`;
  const lengths = await fakeGrains(raw, grains, grainBytes);
  await writeVmdk({ grains, lengths, sizeBytes: (await stat(raw)).size }, output, signal);
}

const formats = {
  vmdk: { write: vmdk, format: "vmdk" },
  vhd: { write: (raw: string, output: string) => writeVhd(raw, output, epoch, signal), format: "vpc" },
  vhdx: { write: (raw: string, output: string) => writeVhdx(raw, output, signal), format: "vhdx" },
} as const;

/** What qemu-img reads out of a container. */
async function readBack(container: string, format: string): Promise<Buffer> {
  const back = `${container}.back`;
  await run("qemu-img", ["convert", "-f", format, "-O", "raw", container, back]);
  return readFile(back);
}

async function sha256(file: string): Promise<string> {
  return createHash("sha256")
    .update(await readFile(file))
    .digest("hex");
}

/** Data at both ends, stored zeros, and a hole that holds all of a grain table of the vmdk (32 to 64 MiB). */
const typical = {
  sectors: 80 * mebibyteSectors,
  runs: [
    { first: 0, sectors: 34, seed: 1 },
    { first: 2047, sectors: 130, seed: 2 },
    { first: 6000, sectors: 4096, seed: 0 },
    { first: 70 * mebibyteSectors + 1, sectors: 3 * mebibyteSectors, seed: 3 },
    { first: 80 * mebibyteSectors - 33, sectors: 33, seed: 4 },
  ],
};

describe.each(Object.entries(formats))("%s", (name, { write, format }) => {
  test("qemu-img accepts it and reads the identical image out of it", async () => {
    const raw = await image(typical.sectors, typical.runs);
    const container = `${raw}.${name}`;
    await write(raw, container);
    const info = JSON.parse(
      (await run("qemu-img", ["info", "-f", format, "--output=json", container])).stdout,
    ) as object;
    expect(info).toMatchObject({ format, "virtual-size": typical.sectors * 512 });
    // qemu-img cannot check the fixed VHD: it has nothing that could be wrong but its footer.
    if (format !== "vpc") await run("qemu-img", ["check", "-f", format, container]);
    expect((await readBack(container, format)).equals(await readFile(raw))).toBe(true);
  });

  test("same image, same bytes; another image, another id", async () => {
    const raw = await image(typical.sectors, typical.runs);
    const other = await image(typical.sectors, [...typical.runs, { first: 20_000, sectors: 1, seed: 9 }]);
    await write(raw, `${raw}.1`);
    await write(raw, `${raw}.2`);
    await write(other, `${other}.1`);
    expect(await sha256(`${raw}.1`)).toBe(await sha256(`${raw}.2`));
    const head = async (file: string) => {
      const bytes = await readFile(file);
      return Buffer.concat([bytes.subarray(0, 128 * 1024), bytes.subarray(-512)]).toString("hex");
    };
    expect(await head(`${raw}.1`)).not.toBe(await head(`${other}.1`));
  });

  test("holes take no place", async () => {
    const raw = await image(typical.sectors, typical.runs);
    await write(raw, `${raw}.out`);
    const { blocks } = await stat(`${raw}.out`);
    expect(blocks * 512).toBeLessThan(12 * 1024 * 1024);
  });

  test("any sparse image comes back identical", async () => {
    const anyRun = fc.record({
      first: fc.nat(3 * mebibyteSectors),
      sectors: fc.integer({ min: 1, max: 300 }),
      seed: fc.nat(5),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 * mebibyteSectors }),
        fc.array(anyRun, { maxLength: 6 }),
        async (sectors, runs) => {
          const raw = await image(sectors, runs);
          await write(raw, `${raw}.out`);
          const back = await readBack(`${raw}.out`, format);
          const wanted = await readFile(raw);
          expect(back.subarray(0, wanted.length).equals(wanted)).toBe(true);
          // Only the VHD is larger: filled up with zeros to a whole MiB.
          const filled = format === "vpc" ? Math.ceil(wanted.length / 2 ** 20) * 2 ** 20 : wanted.length;
          expect(back.length).toBe(filled);
          expect(back.subarray(wanted.length).every((byte) => byte === 0)).toBe(true);
        },
      ),
      { numRuns: 15 },
    );
  });

  test("what is no disk image is refused by name", async () => {
    const odd = join(directory, `odd-${name}`);
    await run("truncate", ["--size=1000", odd]);
    if (format === "vmdk") return; // its size is what the stage says
    await expect(write(odd, `${odd}.out`)).rejects.toThrow(/odd-.* has 1000 bytes/);
  });
});

test("vhd: the footer is as the specification computes it", () => {
  const footer = vhdFooter(64 * 2 ** 20, 946_684_800 + 5, Buffer.alloc(32, 7));
  expect(footer.subarray(0, 8).toString()).toBe("conectix");
  expect(footer.readUInt32BE(24)).toBe(5);
  expect(footer.readUInt32BE(60)).toBe(2);
  let sum = 0;
  footer.forEach((byte, at) => (sum += at >= 64 && at < 68 ? 0 : byte));
  expect(footer.readUInt32BE(64)).toBe(~sum >>> 0);
});

test.each([
  // Worked out by hand; one size for each branch of the calculation.
  [8 * mebibyteSectors, { cylinders: 240, heads: 4, sectorsPerTrack: 17 }],
  [100 * mebibyteSectors, { cylinders: 1003, heads: 12, sectorsPerTrack: 17 }],
  [200 * mebibyteSectors, { cylinders: 825, heads: 16, sectorsPerTrack: 31 }],
  [8 * 1024 * mebibyteSectors, { cylinders: 16_644, heads: 16, sectorsPerTrack: 63 }],
  [200 * 1024 * mebibyteSectors, { cylinders: 65_535, heads: 16, sectorsPerTrack: 255 }],
])("vhd: geometry of %d sectors", (sectors, geometry) => {
  expect(vhdGeometry(sectors)).toEqual(geometry);
});

test("CRC-32C of RFC 3720's examples", () => {
  expect(crc32c(Buffer.alloc(32)).toString(16)).toBe("8a9136aa");
  expect(crc32c(Buffer.alloc(32, 0xff)).toString(16)).toBe("62a8ab43");
  expect(crc32c(Buffer.from("123456789"))).toBe(0xe306_9283);
});

describe("gce", () => {
  test.each([
    ["few runs", typical.runs],
    ["more runs than the header and one block of the map hold", many(60)],
    ["exactly four, the map of the header", many(3)],
    ["no data", []],
  ])("GNU tar unpacks disk.raw of whole GiB: %s", async (_name, runs) => {
    const raw = await image(typical.sectors, runs);
    const archive = `${raw}.tar`;
    await writeGceTar(raw, archive, epoch, signal);
    const listing = await run("tar", ["--list", "--verbose", "--numeric-owner", "--utc", `--file=${archive}`]);
    expect(listing.stdout).toMatch(/^-rw-r--r-- 0\/0\s+1073741824 2025-10-09 08:53 disk\.raw\n$/);
    const out = `${raw}.d`;
    await mkdir(out);
    await run("tar", ["--extract", `--directory=${out}`, `--file=${archive}`]);
    const disk = join(out, "disk.raw");
    const { size, blocks } = await stat(disk);
    expect(size).toBe(2 ** 30);
    expect(blocks * 512).toBeLessThan(16 * 2 ** 20);
    await run("cmp", [`--bytes=${typical.sectors * 512}`, raw, disk]);
    // Beyond the image's end there is only the hole: what is stored is stored before it.
    await run("truncate", [`--size=${typical.sectors * 512}`, disk]);
    expect((await stat(disk)).blocks).toBe(blocks);
    await rm(out, { recursive: true });
  });

  test("same image, same bytes", async () => {
    const raw = await image(typical.sectors, typical.runs);
    await writeGceTar(raw, `${raw}.1`, epoch, signal);
    await writeGceTar(raw, `${raw}.2`, epoch, signal);
    expect(await sha256(`${raw}.1`)).toBe(await sha256(`${raw}.2`));
  });
});

describe("ova", () => {
  async function unpacked(): Promise<{ raw: string; out: string; names: string[] }> {
    const raw = await image(typical.sectors, typical.runs);
    await vmdk(raw, `${raw}.vmdk`);
    await writeOva(`${raw}.vmdk`, { cpus: 2, memoryMiB: 2048 }, `${raw}.ova`, epoch, signal);
    const out = `${raw}.ova.d`;
    await mkdir(out);
    const listing = await run("tar", ["--extract", "--verbose", `--directory=${out}`, `--file=${raw}.ova`]);
    return { raw, out, names: listing.stdout.trim().split("\n") };
  }

  test("descriptor first, manifest second, then the disk; the manifest's hashes are right", async () => {
    const { out, names } = await unpacked();
    expect(names).toEqual(["kubedos.ovf", "kubedos.mf", "kubedos-disk1.vmdk"]);
    const manifest = await readFile(join(out, "kubedos.mf"), "utf8");
    const lines = [...manifest.matchAll(/^SHA256\((.+)\)= ([0-9a-f]{64})$/gm)].map(([, name, hash]) => [name, hash]);
    expect(lines).toHaveLength(2);
    for (const [name, hash] of lines) expect(await sha256(join(out, name!))).toBe(hash);
  });

  test("the disk inside is the image, and the descriptor names its size", async () => {
    const { raw, out } = await unpacked();
    const disk = join(out, "kubedos-disk1.vmdk");
    expect((await readBack(disk, "vmdk")).equals(await readFile(raw))).toBe(true);
    const text = await readFile(join(out, "kubedos.ovf"), "utf8");
    expect(text).toContain(`ovf:capacity="${typical.sectors * 512}" ovf:capacityAllocationUnits="byte"`);
    expect(text).toContain(`ovf:href="kubedos-disk1.vmdk" ovf:size="${(await stat(disk)).size}"`);
  });

  test("same image, same bytes", async () => {
    const raw = await image(typical.sectors, typical.runs);
    await vmdk(raw, `${raw}.vmdk`);
    const hardware = { cpus: 2, memoryMiB: 2048 };
    await writeOva(`${raw}.vmdk`, hardware, `${raw}.1`, epoch, signal);
    await writeOva(`${raw}.vmdk`, hardware, `${raw}.2`, epoch, signal);
    expect(await sha256(`${raw}.1`)).toBe(await sha256(`${raw}.2`));
  });
});

test("cancelled: no format goes on writing", async () => {
  const raw = await image(typical.sectors, typical.runs);
  const cancelled = AbortSignal.abort();
  await expect(writeVhd(raw, `${raw}.vhd`, epoch, cancelled)).rejects.toThrow(/abort/i);
  await expect(writeVhdx(raw, `${raw}.vhdx`, cancelled)).rejects.toThrow(/abort/i);
  await expect(writeGceTar(raw, `${raw}.tar`, epoch, cancelled)).rejects.toThrow(/abort/i);
});

/** Runs far enough from one another to be extents of their own. */
function many(amount: number): Run[] {
  return Array.from({ length: amount }, (_, index) => ({ first: index * 1024 + 100, sectors: 3, seed: index + 1 }));
}

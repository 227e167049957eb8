import { mkdtemp, open, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { run } from "../host/run.ts";
import { writeRawImage } from "./raw.ts";

const mebibyte = 1024 * 1024;
const rootHash = "0123456789abcdef".repeat(4);

let directory: string;
let parts: { esp: string; root: string; verity: string };
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-raw-"));
  // Mostly empty, as a FAT file system is; not a multiple of anything; and with a zero run inside.
  const contents = {
    esp: Buffer.concat([Buffer.from("fat"), Buffer.alloc(9 * mebibyte - 3)]),
    root: Buffer.concat([Buffer.alloc(5 * mebibyte, "root"), Buffer.alloc(5 * mebibyte), Buffer.from("end of root")]),
    verity: Buffer.alloc(70_000, "hash"),
  };
  const path = (name: string) => join(directory, name);
  for (const [name, content] of Object.entries(contents)) await writeFile(path(name), content);
  parts = { esp: path("esp"), root: path("root"), verity: path("verity") };
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function make(name: string, signal = new AbortController().signal): Promise<string> {
  const image = join(directory, name);
  const { seedAt } = await writeRawImage(image, parts, rootHash, signal);
  expect(seedAt % mebibyte).toBe(0);
  return image;
}

test("each part is read back at the place that the partition table gives", async () => {
  const image = await make("image");
  const { partitiontable } = JSON.parse((await run("sfdisk", ["--json", image])).stdout) as {
    partitiontable: { partitions: { start: number; size: number; name: string; uuid: string }[] };
  };
  const bytes = await readFile(image);
  const files = [parts.esp, parts.root, parts.verity];
  expect(partitiontable.partitions.map(({ name }) => name)).toEqual([
    "kubedos-esp",
    "kubedos-root-0123456789abcdef",
    "kubedos-hash-0123456789abcdef",
    "kubedos-seed",
  ]);
  for (const [index, { start, size }] of partitiontable.partitions.entries()) {
    const file = files[index];
    const content = file === undefined ? Buffer.alloc(0) : await readFile(file);
    const partition = bytes.subarray(start * 512, (start + size) * 512);
    expect((start * 512) % mebibyte).toBe(0);
    expect(partition.subarray(0, content.length).equals(content)).toBe(true);
    expect(partition.subarray(content.length).every((byte) => byte === 0)).toBe(true);
  }
  // https://uapi-group.org/specifications/specs/discoverable_partitions_specification/: the root hash in two halves.
  const halves = partitiontable.partitions.slice(1, 3).map(({ uuid }) => uuid.replaceAll("-", "").toLowerCase());
  expect(halves.join("")).toBe(rootHash);
  expect((await run("sgdisk", ["--verify", image])).stdout).toMatch(/No problems found/);
});

test("zeros take no space, and the same parts make the same bytes", async () => {
  const [one, two] = [await make("one"), await make("two")];
  const info = await stat(one);
  expect(info.blocks * 512).toBeLessThan(info.size - 8 * mebibyte);
  expect((await readFile(one)).equals(await readFile(two))).toBe(true);
});

test("an existing file is not written over", async () => {
  await make("image");
  await expect(make("image")).rejects.toThrow("EEXIST");
});

test("stops when asked to", async () => {
  await expect(make("image", AbortSignal.abort(new Error("stopped")))).rejects.toThrow("stopped");
});

test("a missing part is an error", async () => {
  await rm(parts.verity);
  await expect(make("image")).rejects.toThrow("verity");
  await expect(open(join(directory, "image"))).rejects.toThrow("ENOENT");
});

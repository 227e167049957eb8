import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { run } from "../host/run.ts";
import { gptTailBytes, guidBytes, guidFromHash, partitionTypes, writeGpt, type Partition } from "./gpt.ts";

const mebibyte = 1024 * 1024;
const diskBytes = 12 * mebibyte;
const diskId = guidFromHash("ab".repeat(32));
const partitions: Partition[] = [
  {
    type: partitionTypes.esp,
    id: guidFromHash("01".repeat(32)),
    name: "kubedos-esp",
    firstByte: mebibyte,
    sizeBytes: 3 * mebibyte,
  },
  {
    type: partitionTypes.rootX8664,
    id: guidFromHash("02".repeat(32)),
    name: "kubedos-root-0123456789abcdef",
    firstByte: 4 * mebibyte,
    sizeBytes: 6 * mebibyte,
  },
  {
    type: partitionTypes.rootVerityX8664,
    id: guidFromHash("03".repeat(32)),
    name: "x".repeat(36),
    firstByte: 10 * mebibyte,
    sizeBytes: mebibyte,
  },
];

let directory: string;
let disk: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-gpt-"));
  disk = join(directory, "disk");
  const { head, tail, tailOffset } = writeGpt(diskBytes, diskId, partitions);
  const file = await open(disk, "w");
  await file.truncate(diskBytes);
  await file.write(head, 0, head.length, 0);
  await file.write(tail, 0, tail.length, tailOffset);
  await file.close();
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function sfdisk(): Promise<unknown> {
  return JSON.parse((await run("sfdisk", ["--json", disk])).stdout);
}

const table = {
  partitiontable: {
    label: "gpt",
    id: diskId,
    firstlba: 34,
    lastlba: diskBytes / 512 - 34,
    partitions: partitions.map(({ type, id, name, firstByte, sizeBytes }) => ({
      type,
      uuid: id,
      name,
      start: firstByte / 512,
      size: sizeBytes / 512,
    })),
  },
};

test("sfdisk and sgdisk find nothing wrong and read what was written", async () => {
  const { stdout, stderr } = await run("sfdisk", ["--verify", disk]);
  expect(stdout + stderr).toMatch(/No errors detected/);
  expect((await run("sgdisk", ["--verify", disk])).stdout).toMatch(/No problems found/);
  expect(await sfdisk()).toMatchObject(table);
});

test("both copies have the size that images leave for them", () => {
  const { head, tail, tailOffset } = writeGpt(diskBytes, diskId, partitions);
  expect(tail.length).toBe(gptTailBytes);
  expect(tailOffset + tail.length).toBe(diskBytes);
  expect(head.length).toBeLessThanOrEqual(mebibyte);
});

test("the copy at the end alone is enough", async () => {
  const file = await open(disk, "r+");
  await file.write(Buffer.alloc(33 * 512), 0, 33 * 512, 512);
  await file.close();
  expect(await sfdisk()).toMatchObject(table);
});

test("tools that know no GPT see one partition over the whole disk", async () => {
  const { stdout } = await run("sfdisk", ["--label-nested", "dos", "--json", disk]);
  expect(JSON.parse(stdout)).toMatchObject({
    partitiontable: { label: "dos", partitions: [{ start: 1, size: diskBytes / 512 - 1, type: "ee" }] },
  });
});

test("ids from hashes are valid version 8 UUIDs, written as GUIDs are on disk", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 32 }), (bytes) => {
      expect(guidFromHash(Buffer.from(bytes).toString("hex"))).toMatch(
        /^[0-9A-F]{8}-[0-9A-F]{4}-8[0-9A-F]{3}-8[0-9A-F]{3}-[0-9A-F]{12}$/,
      );
    }),
  );
  expect(guidBytes("00112233-4455-6677-8899-AABBCCDDEEFF").toString("hex")).toBe("33221100554477668899aabbccddeeff");
});

import { chmod, open, readFile, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openStore } from "../../src/store/store.ts";
import {
  buildReference,
  forgetStages,
  leftovers,
  openWorkshop,
  processesOf,
  published,
  startBuild,
  until,
  type Workshop,
} from "./support.ts";
import { publishedFiles } from "../fakes/published.ts";

let workshop: Workshop;
/** The first build: what all the others must equal. */
let reference: Record<string, string>;
let cache: string;
/** A second cache, used again and again. What differs between hosts is proof.test.ts's. */
let other: string;
beforeAll(async () => {
  workshop = await openWorkshop();
  [cache, other] = [await workshop.makeCache("cache"), await workshop.makeCache("other")];
  reference = await buildReference(workshop, cache);
});
afterAll(() => workshop?.remove());

test("the first build published its targets and their manifest, and left nothing else", async () => {
  expect(Object.keys(reference)).toEqual(publishedFiles(["lab.qcow2", "lab.raw"]));
  const manifest = JSON.parse(await readFile(join(workshop.spec, "out/lab/manifest.json"), "utf8")) as {
    artifacts: { file: string; sha256: string; sizeBytes: number }[];
  };
  for (const { file, sha256, sizeBytes } of manifest.artifacts) {
    expect(reference[file]).toBe(sha256);
    expect((await stat(join(workshop.spec, "out/lab", file))).size).toBe(sizeBytes);
  }
  expect(manifest.artifacts).toHaveLength(2);
  expect(await leftovers(cache)).toEqual([]);
});

test("Ctrl-C in each stage: 130, no process and nothing half-made left; then the same bytes", async () => {
  await forgetStages(workshop, other);
  const spec = await workshop.copySpec(join(workshop.directory, "interrupted"));
  for (const word of ["virt-fw-vars", "initrd.sh", "configure.sh", "mkfs.erofs", "esp.sh", "qemu-img"]) {
    const build = startBuild(workshop, other, { spec });
    await until(async () => (await processesOf(other, word)).length > 0);
    build.kill("SIGINT");
    expect({ word, ...(await build.ended) }).toMatchObject({ word, status: 130, error: { code: "interrupted" } });
    expect({ word, processes: await processesOf(workshop.directory) }).toEqual({ word, processes: [] });
    expect({ word, left: await leftovers(other) }).toEqual({ word, left: [] });
    expect(await readdir(spec)).not.toContain("out");
  }
  expect(await startBuild(workshop, other, { spec }).ended).toMatchObject({ status: 0 });
  expect(await published(spec)).toEqual(reference);
});

test("kill -9: its tools end with it; the next two, at once, clean up, make each stage once and get the same", async () => {
  await forgetStages(workshop, other);
  const spec = await workshop.copySpec(join(workshop.directory, "killed"));
  const killed = startBuild(workshop, other, { spec });
  await until(async () => (await processesOf(other, "configure.sh")).length > 0);
  killed.kill("SIGKILL");
  await killed.ended;
  await until(async () => (await processesOf(workshop.directory)).length === 0);
  expect((await leftovers(other)).join("\n")).toMatch(/store\/tmp\/.*\.stage/);

  const both = await Promise.all([1, 2].map(() => startBuild(workshop, other, { spec }).ended));
  expect(both.map(({ status }) => status)).toEqual([0, 0]);
  expect(both.flatMap(({ started }) => started).toSorted()).toEqual(
    // What the killed build finished before is not made again.
    [...new Set(both.flatMap(({ started }) => started))].toSorted(),
  );
  expect(both.flatMap(({ started }) => started)).toContain("tree");
  expect(await published(spec)).toEqual(reference);
  expect(await leftovers(other)).toEqual([]);
});

describe("damage in the store is noticed and made good", () => {
  test("outputs of stages, and what a build itself put in", async () => {
    const store = await openStore(cache);
    const packages = new Set([...workshop.lock.platform, ...workshop.lock.foundry].map(({ sha256 }) => sha256));
    const outputs = new Map<string, string>();
    for (const file of await readdir(join(cache, "actions"))) {
      const record = JSON.parse(await readFile(join(cache, "actions", file), "utf8")) as {
        outputs: Record<string, { sha256: string }>;
      };
      for (const [name, { sha256 }] of Object.entries(record.outputs)) outputs.set(sha256, name);
    }
    const objects = (await readdir(join(cache, "store/sha256"), { recursive: true })).flatMap(
      (path) => path.split("/")[1] ?? [],
    );
    const blobs = objects.filter((hash) => !packages.has(hash) && !outputs.has(hash));
    expect(blobs.length).toBeGreaterThan(5);
    const root = [...outputs].find(([, name]) => name === "root")![0];
    for (const hash of [root, ...blobs]) await flipFirstByte(store.path(hash));
    const outcome = await startBuild(workshop, cache).ended;
    expect(outcome).toMatchObject({ status: 0 });
    expect(outcome.started).toContain("root");
    expect(await published(workshop.spec)).toEqual(reference);
    for (const hash of [root, ...blobs]) expect(await store.verify(hash, { reread: true })).toBe("ok");
  });

  test("an artifact that was written to", async () => {
    await flipFirstByte(join(workshop.spec, "out/lab/lab.raw"));
    expect(await startBuild(workshop, cache).ended).toMatchObject({ status: 0 });
    expect(await published(workshop.spec)).toEqual(reference);
  });

  test("an artifact that was removed", async () => {
    await rm(join(workshop.spec, "out/lab/lab.qcow2"));
    expect((await startBuild(workshop, cache).ended).started).toEqual([]);
    expect(await published(workshop.spec)).toEqual(reference);
  });
});

async function flipFirstByte(file: string): Promise<void> {
  await chmod(file, 0o644);
  const handle = await open(file, "r+");
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, 0);
  byte[0]! ^= 1;
  await handle.write(byte, 0, 1, 0);
  await handle.close();
}

import { link, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openStore, type Store } from "../store/store.ts";
import { publishFiles } from "./publish.ts";

let directory: string;
let store: Store;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-publish-"));
  store = await openStore(join(directory, "cache"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function publish(content: string, out = join(directory, "out")): Promise<string> {
  const object = await store.putBytes(content);
  const path = join(out, "lab.raw");
  const manifest = { name: "manifest.json", text: `{"of":"${content}"}\n` };
  await publishFiles({ out }, [{ path, ...object }], [manifest], store, new AbortController().signal);
  return path;
}

test("the object and its description, under their names; the disk is used once", async () => {
  const path = await publish("image");
  expect(await readFile(path, "utf8")).toBe("image");
  const info = await stat(path);
  expect(info.mode & 0o777).toBe(0o444);
  expect(info.nlink).toBe(2);
  expect((await readdir(join(directory, "out"))).toSorted()).toEqual(["lab.raw", "manifest.json"]);
});

test("published again: nothing is touched; another build: replaced", async () => {
  const before = await stat(await publish("image"));
  expect((await stat(await publish("image"))).ctimeMs).toBe(before.ctimeMs);
  expect(await readFile(await publish("other"), "utf8")).toBe("other");
  expect(await readFile(join(directory, "out/manifest.json"), "utf8")).toBe('{"of":"other"}\n');
});

test("what a killed build left is no obstacle", async () => {
  await mkdir(join(directory, "out"));
  const { sha256 } = await store.putBytes("another object");
  await link(store.path(sha256), join(directory, "out/lab.raw.new"));
  expect(await readFile(await publish("image"), "utf8")).toBe("image");
  expect(await readFile(store.path(sha256), "utf8")).toBe("another object");
  expect(await readdir(join(directory, "out"))).not.toContain("lab.raw.new");
});

test("many at once: each ends well, and the result is one of theirs, whole", async () => {
  await Promise.all(Array.from({ length: 8 }, (_, index) => publish(`image ${index % 2}`)));
  const content = await readFile(join(directory, "out/lab.raw"), "utf8");
  expect(await readFile(join(directory, "out/manifest.json"), "utf8")).toBe(`{"of":"${content}"}\n`);
  expect((await readdir(join(directory, "out"))).toSorted()).toEqual(["lab.raw", "manifest.json"]);
});

test("an output directory that cannot be made is an error, and leaves no lease", async () => {
  await writeFile(join(directory, "out"), "a file");
  await expect(publish("image")).rejects.toThrow(/EEXIST|ENOTDIR/);
  expect(await readdir(join(store.directory, "actions"))).toEqual([]);
});

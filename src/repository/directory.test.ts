import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { finishRepository, openRepositoryDirectory, placePackage, type PackageSource } from "./directory.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-repository-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const { signal } = new AbortController();

function source(path: string, text = path): PackageSource & { fetched: number } {
  return {
    path,
    sizeBytes: text.length,
    sha256: createHash("sha256").update(text).digest("hex"),
    fetched: 0,
    async bring(file) {
      this.fetched++;
      await writeFile(file, text);
    },
  };
}

test("a second run keeps what is there and repairs what is damaged", async () => {
  const [kept, damaged] = [source("pool/a.deb"), source("pool/b.deb")];
  for (const one of [kept, damaged]) expect(await placePackage(directory, one)).toBe("placed");
  await writeFile(join(directory, "pool/b.deb"), "pool/X.deb");
  expect(await placePackage(directory, kept)).toBe("kept");
  expect(await placePackage(directory, damaged)).toBe("placed");
  expect(await readFile(join(directory, "pool/b.deb"), "utf8")).toBe("pool/b.deb");
});

test("what the repository no longer has goes, and nothing outside of dists and pool", async () => {
  await mkdir(join(directory, "pool/old"), { recursive: true });
  await writeFile(join(directory, "pool/old/gone.deb"), "");
  await writeFile(join(directory, "archive.asc"), "");
  await placePackage(directory, source("pool/a.deb"));
  await finishRepository(
    directory,
    [{ path: "dists/trixie/Release", content: Buffer.from("x") }],
    [{ path: "pool/a.deb" }],
  );
  expect((await readdir(directory, { recursive: true })).toSorted()).toEqual([
    "archive.asc",
    "dists",
    "dists/trixie",
    "dists/trixie/Release",
    "pool",
    "pool/a.deb",
  ]);
});

test("a directory with other things in it is refused and left alone", async () => {
  await writeFile(join(directory, "thesis.txt"), "mine");
  await expect(openRepositoryDirectory(directory, signal)).rejects.toThrow("holds other things: thesis.txt");
  expect(await readdir(directory)).toEqual(["thesis.txt"]);
  await expect(openRepositoryDirectory(join(directory, "thesis.txt"), signal)).rejects.toThrow("cannot be used");
});

test("a package that cannot be fetched leaves nothing at its place", async () => {
  const broken: PackageSource = { ...source("pool/a.deb"), bring: () => Promise.reject(new Error("no")) };
  await expect(placePackage(directory, broken)).rejects.toThrow("no");
  expect(await readdir(join(directory, "pool"))).toEqual([]);
});

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openKeyring, publicKeyOf } from "./keyring.ts";
import { fixedVault } from "./testing.ts";

const vault = fixedVault();
let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "kubedos-keyring-"));
  path = join(directory, "lab.keyring");
});
afterEach(() => rmSync(directory, { recursive: true }));

test("a key is made once and stays; what is there is not lost when others are added", async () => {
  const first = await openKeyring(path, vault, ["a/1"]);
  expect(first.made).toEqual(["a/1"]);
  expect(publicKeyOf(first.privateKeys["a/1"]!)).toMatch(
    /^-----BEGIN PUBLIC KEY-----\n[\s\S]*-----END PUBLIC KEY-----$/,
  );
  const bytes = readFileSync(path);
  const again = await openKeyring(path, vault, ["a/1"]);
  expect([again.made, again.privateKeys]).toEqual([[], first.privateKeys]);
  expect(readFileSync(path)).toEqual(bytes);
  const more = await openKeyring(path, vault, ["b/1", "a/1"]);
  expect([more.made, more.privateKeys["a/1"]]).toEqual([["b/1"], first.privateKeys["a/1"]]);
  expect((await openKeyring(path, vault, ["a/1", "b/1"])).made).toEqual([]);
});

test("two at once agree", async () => {
  const [one, two] = await Promise.all([openKeyring(path, vault, ["a/1"]), openKeyring(path, vault, ["a/1"])]);
  expect(one.privateKeys).toEqual(two.privateKeys);
});

test("its file is the owner's alone and shows no key", async () => {
  await openKeyring(path, vault, ["salt-minion/core-1/1"]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readFileSync(path, "utf8")).not.toMatch(/PRIVATE|core-1/);
});

test("another vault's keyring, a damaged and a foreign file are refused", async () => {
  await openKeyring(path, vault, ["a/1"]);
  await expect(openKeyring(path, fixedVault(2), ["a/1"])).rejects.toThrow(/cannot be opened with this vault/);
  const text = readFileSync(path, "utf8");
  writeFileSync(path, text.slice(0, text.length / 2));
  await expect(openKeyring(path, vault, ["a/1"])).rejects.toThrow(/damaged|cannot be opened/);
  writeFileSync(path, "keys: []\n");
  await expect(openKeyring(path, vault, ["a/1"])).rejects.toThrow(/not an age-encrypted file/);
});

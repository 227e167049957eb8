import { expect, test } from "vitest";
import { archiveKey } from "../vault/archive-key.ts";
import type { LockedPackage } from "../lock/types.ts";
import { keySigner } from "./signer.ts";
import { poolFiles } from "./pool.ts";
import { suiteFiles } from "./release.ts";

const vault = {
  foundrySecret: Buffer.alloc(32, 1),
  signing: { publicKey: Buffer.alloc(32) },
};
const key = keySigner(archiveKey(vault));
const fields = { suite: "trixie", label: "kubedos lab", date: 1_763_200_000 };

function entry(name: string, change: Partial<LockedPackage> = {}): LockedPackage {
  return {
    name,
    version: "1",
    architecture: "amd64",
    sizeBytes: 1,
    sha256: name.padEnd(64, "0"),
    archive: "debian",
    suite: "trixie",
    path: `pool/main/${name[0]}/${name}/${name}_1_amd64.deb`,
    ...change,
  };
}

test("a suite: indexes by name and by hash, Release, and the same text signed in two ways", () => {
  const files = suiteFiles(fields, { "Packages.xz": Buffer.from("xz"), Packages: Buffer.from("text") }, key);
  const text = (path: string) => files.find((file) => file.path === path)!.content.toString();
  expect(text("dists/trixie/Release")).toMatchInlineSnapshot(`
    "Origin: kubedos
    Label: kubedos lab
    Suite: trixie
    Codename: trixie
    Date: Sat, 15 Nov 2025 09:46:40 UTC
    Architectures: amd64
    Components: main
    No-Support-for-Architecture-all: Packages
    Acquire-By-Hash: yes
    Description: packages of a kubedos lock, frozen
    SHA256:
     982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1 4 main/binary-amd64/Packages
     8ec5e9e6f70bf1a0b5692ef948d1194bdb074342ed14045f9e84820367a98c6a 2 main/binary-amd64/Packages.xz
    "
  `);
  expect(text("dists/trixie/InRelease")).toContain(
    `\n\n${text("dists/trixie/Release")}-----BEGIN PGP SIGNATURE-----\n`,
  );
  const byHash = files.filter((file) => file.path.includes("/by-hash/"));
  expect(byHash.map((file) => file.content.toString())).toEqual(["text", "xz"]);
  for (const { path } of byHash) expect(text("dists/trixie/Release")).toContain(path.split("/").at(-1));
});

test("a frozen archive does not end: no Valid-Until", () => {
  expect(
    suiteFiles(fields, {}, key)
      .map((file) => file.content.toString())
      .join(""),
  ).not.toContain("Valid-Until");
});

test("Debian's paths are kept, other archives have a folder of their own, in order of their paths", () => {
  const files = poolFiles([
    entry("zoo"),
    entry("bash"),
    entry("tool", { archive: "vendor" }),
    entry("fix", { archive: "debian-security", path: "pool/updates/main/f/fix/fix_1_amd64.deb" }),
  ]);
  expect(files.map(({ path }) => path)).toEqual([
    "pool/main/b/bash/bash_1_amd64.deb",
    "pool/main/z/zoo/zoo_1_amd64.deb",
    "pool/updates/main/f/fix/fix_1_amd64.deb",
    "pool/vendor/main/t/tool/tool_1_amd64.deb",
  ]);
});

test("two different packages at one place are an error, the same one twice is not", () => {
  const path = "pool/main/x_1_amd64.deb";
  expect(poolFiles([entry("a", { path }), entry("a", { path })])).toHaveLength(1);
  expect(() => poolFiles([entry("a", { path }), entry("b", { path })])).toThrow(`a and b both want the place ${path}`);
});

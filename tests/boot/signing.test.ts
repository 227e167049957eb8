import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { locateFoundry } from "../../src/assemble/foundry.ts";
import { runInSandbox } from "../../src/host/sandbox.ts";
import { attachSignature } from "../../src/seal/authenticode.ts";
import type { Manifest } from "../../src/seal/manifest.ts";
import { buildLab, makeScratch, type BuiltLab, type Scratch } from "./support.ts";

// Who signs, and where: the artifacts have the same bytes.
let scratch: Scratch;
let lab: BuiltLab;
let manifest: Manifest;
beforeAll(async () => {
  scratch = await makeScratch();
  lab = await buildLab(scratch, "signed");
  manifest = JSON.parse(await readFile(lab.built.manifest, "utf8")) as Manifest;
});
afterAll(() => scratch?.remove());

const published = (name: string) => join(lab.project.paths.out, name);

test("sbsign makes the same bytes, the clock at the lock's epoch; sbattach finds the published signature", async () => {
  const { project } = lab;
  const [key, certificate] = [join(scratch.directory, "db.key"), published("secureboot-db.pem")];
  await writeFile(key, project.vault.secureBoot.db.key, { mode: 0o600 });
  const out = join(scratch.directory, "sbsign");
  const { directory } = locateFoundry(project.lock, project.store);
  const when = new Date(project.lock.epoch * 1000).toISOString().slice(0, 19).replace("T", " ");
  const tool = (...command: [string, ...string[]]) =>
    runInSandbox({
      root: directory,
      command,
      inputs: { key, certificate, image: lab.uki.unsigned },
      out,
      epoch: project.lock.epoch,
    });
  const keys = ["--key", "/in/key", "--cert", "/in/certificate"];
  await tool("faketime", "-f", when, "sbsign", ...keys, "--output", "/out/signed.efi", "/in/image");
  const ours = await readFile(lab.uki.signed);
  expect((await readFile(join(out, "signed.efi"))).equals(ours)).toBe(true);
  await tool("sbattach", "--detach", "/out/detached.p7", "/out/signed.efi");
  expect((await readFile(join(out, "detached.p7"))).equals(await readFile(published("boot.efi.p7")))).toBe(true);
});

test("without the key, the published signature on the unsigned boot image gives the signed one", async () => {
  const [unsigned, signature] = await Promise.all([readFile(lab.uki.unsigned), readFile(published("boot.efi.p7"))]);
  expect(manifest.boot.signature.sizeBytes).toBe(signature.length);
  expect(attachSignature(unsigned, signature).equals(await readFile(lab.uki.signed))).toBe(true);
});

import { writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { clusterId } from "../../src/fabric/keys.ts";
import { buildSeed } from "../../src/fabric/seed.ts";
import { writeUstar } from "../../src/fabric/ustar.ts";
import type { Spec } from "../../src/spec/types.ts";
import { ageSeal } from "../../src/vault/age.ts";
import { signifyPublicKey } from "../../src/vault/signify.ts";
import { fixedVault } from "../../src/vault/testing.ts";
import { fakeSpec } from "../fakes/spec.ts";
import { at, eachInScratch, writer } from "./writer.ts";

// The seeds on a medium: opened by a passphrase, and checked before they are written.
eachInScratch();

/** The writer before seeds for core-1 that are sealed by a passphrase; someone types these lines on its console. */
async function seedsOnConsole(lines: readonly string[], sealed: Uint8Array): Promise<string> {
  await writeFile(at("here/nodes"), "core-1 1\nhub-1 1\n");
  await writeFile(at("here/hardware"), "");
  await writeFile(at("seeds"), sealed);
  const console = 'ln -s "$(tty)" $dev/ttyS0; consoles=ttyS0';
  const words = `${console}; sealed_seeds() { cat '${at("seeds")}'; }; check_seed() { echo "seed of $chosen"; }; choose_seed; echo complete`;
  const { said } = await writer(words, {}, [], lines);
  return said.replaceAll("\r", "");
}

describe("seeds that are sealed by a passphrase, on a machine that no node's hardware is", () => {
  const passphrase = "correct horse battery staple";

  async function sealedFor(node: string): Promise<Buffer> {
    const seed = { name: `${node}.seed`, content: Buffer.from("a seed") };
    const sealed = await ageSeal(writeUstar([seed]), passphrase);
    const header = Buffer.alloc(4096);
    header.write(`KUBEDOS-SEEDS 1 ${sealed.length}\n`);
    return Buffer.concat([header, sealed]);
  }

  test("five wrong passphrases: stopped before anything is written", async () => {
    const said = await seedsOnConsole(["core-1", ...Array<string>(5).fill("guess")], await sealedFor("core-1"));
    expect(said).toContain("which node is this machine?");
    for (let tried = 1; tried <= 5; tried++) expect(said).toContain(`try ${tried} of 5`);
    expect(said).toContain("installation stopped: 5 wrong passphrases");
    expect(said).not.toContain("complete");
  });

  test("a name that no node has is asked for again; after a wrong passphrase the right one opens them", async () => {
    const said = await seedsOnConsole(["core-9", "core-1", "guess", passphrase], await sealedFor("core-1"));
    expect(said.match(/which node is this machine\?/g)).toHaveLength(2);
    expect(said).toContain("try 2 of 5");
    expect(said).not.toContain("try 3 of 5");
    expect(said).toContain("seed of core-1\ncomplete");
    // Nothing here is for a TPM: nobody looks for one.
    expect(said).not.toContain("TPM");
  });

  test("seeds without one for this node: stopped", async () => {
    const said = await seedsOnConsole(["core-1", passphrase], await sealedFor("hub-1"));
    expect(said).toContain("installation stopped: there is no seed of core-1 among them");
  });
});

describe("a seed is checked as the installed machine does it", () => {
  const vault = fixedVault();
  const spec = fakeSpec();
  const cluster = clusterId(vault, spec.metadata.name);
  const seedOf = (name: string, change: Partial<Spec> = {}) =>
    Buffer.from(buildSeed({ ...spec, ...change }, vault, name).disk);
  const altered = (disk: Buffer) => {
    disk[4096 + 700]! ^= 1;
    return disk;
  };

  async function checked(disk: Uint8Array): Promise<{ said: string; ended: boolean }> {
    await writeFile(at("here", "foundry.pub"), signifyPublicKey(vault.signing.publicKey));
    await writeFile(at("here", "cluster-id"), `${cluster}\n`);
    await writeFile(at("here", "nodes"), spec.nodes.map(({ name, generation }) => `${name} ${generation}\n`).join(""));
    await writeFile(at("run/core-1.seed"), disk);
    return writer("chosen=core-1; check_seed; echo good");
  }

  test("its own", async () => expect((await checked(seedOf("core-1"))).said).toBe("good\n"));

  test.each([
    ["of another node", () => seedOf("hub-1"), "what should be the seed of core-1 is that of hub-1"],
    ["altered", () => altered(seedOf("core-1")), "the seed of core-1 is altered or was not made by this foundry"],
    [
      "of another cluster",
      () => seedOf("core-1", { metadata: { ...spec.metadata, name: "other" } }),
      "the seed of core-1 belongs to another cluster",
    ],
    [
      "of an older key generation",
      () => seedOf("core-1", { nodes: spec.nodes.map((node) => ({ ...node, generation: node.generation + 1 })) }),
      "the seed of core-1 has key generation 2, which this image no longer accepts",
    ],
  ])("%s: refused", async (_what, disk, message) => {
    const { said, ended } = await checked(disk());
    expect(said).toContain(`installation stopped: ${message}`);
    expect(ended).toBe(false);
  });
});

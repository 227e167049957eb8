import { createHash, createPublicKey } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { readUstar } from "../../src/fabric/ustar.ts";
import { packSeeds } from "../../src/media/seeds.ts";
import { readTpmKey } from "../../src/spec/tpm-keys.ts";
import { withTpm, type Tpm } from "./tpm.ts";
import { at, eachInScratch, writer } from "./writer.ts";

// Seeds that are sealed to a machine's TPM: swtpm behind a terminal for a device. The kernel's own device is in
// tests/boot/installation.test.ts.
eachInScratch();

const passphrase = "correct horse battery staple";
const machine = <T>(use: (tpm: Tpm) => Promise<T>): Promise<T> => withTpm(at("tpm"), at("dev/tpmrm0"), use);

/** Seeds of core-1 for this TPM and, where a passphrase is given, of hub-1. */
function seedsFor(tpm: string, sealing?: string): Promise<Buffer> {
  const seeds = [{ node: "core-1", seed: Buffer.from("of core-1"), tpm }];
  const other = { node: "hub-1", seed: Buffer.from("of hub-1") };
  return packSeeds(sealing === undefined ? seeds : [...seeds, other], sealing);
}

interface Start {
  sealed: Uint8Array;
  /** The node whose hardware the machine has. */
  known?: string;
  typed?: string[];
}

/** What the writer says that chooses a seed. */
async function chooses({ sealed, known = "", typed = [] }: Start): Promise<string> {
  await writeFile(at("here/nodes"), "core-1 1\nhub-1 1\n");
  await writeFile(at("seeds"), sealed);
  const words = [
    'ln -sf "$(tty)" $dev/ttyS0; consoles=ttyS0',
    `match_hardware() { echo ${known}; }`,
    `sealed_seeds() { cat '${at("seeds")}'; }`,
    'check_seed() { echo "its seed is that $(cat "$run/$chosen.seed")"; }',
    "choose_seed; ls -R $run; echo complete",
  ].join("\n");
  return (await writer(words, {}, [], typed)).said.replaceAll("\r", "");
}

/** The archive for TPMs among seeds, with one member changed. */
function altered(sealed: Buffer, name: string): Buffer {
  const copy = Buffer.from(sealed);
  const [, size = "0"] = /^KUBEDOS-SEEDS 1 (\d+) \d+\n/.exec(copy.toString("latin1", 0, 64)) ?? [];
  const archive = copy.subarray(4096 + Number(size));
  const { content } = readUstar(archive).find((member) => member.name === name)!;
  copy[copy.indexOf(content) + content.length - 10]! ^= 1;
  return copy;
}

const fingerprintOf = (key: string) => readTpmKey(key, "key").fingerprint;

test("the machine is known by its TPM, which opens its seed; nothing is asked, nothing left", async () => {
  await machine(async (tpm) => {
    const key = await tpm.key();
    const said = await chooses({ sealed: await seedsFor(key) });
    expect(said).toContain(`the key of this machine's TPM: sha256 ${fingerprintOf(key)}`);
    expect(said).toContain("this machine is core-1, by its TPM");
    expect(said).toContain("its seed is that of core-1");
    expect(said).toContain("complete");
    expect(said).not.toMatch(/passphrase|which node|identity|answer|command/);
    // What a support bundle holds is what tpm2-tools say.
    expect(await readFile(at("run/tpm/tpm.pem"), "utf8")).toBe(key);
    const der = createPublicKey(key).export({ type: "spki", format: "der" });
    expect(said).toContain(createHash("sha256").update(der).digest("hex"));
  });
});

test("a second start makes the same key", async () => {
  const first = await machine((tpm) => tpm.key());
  await machine(async () => {
    expect(await chooses({ sealed: await seedsFor(first, passphrase), known: "core-1" })).toContain("that of core-1");
  });
});

test("a TPM that was cleared, and so any other: the seed is refused, with both keys", async () => {
  await machine(async (tpm) => {
    const before = await tpm.key();
    await tpm.does("tpm2_clear", "-c", "p");
    const after = await tpm.key();
    expect(after).not.toBe(before);
    const sealed = await seedsFor(before, passphrase);
    const said = await chooses({ sealed, known: "core-1" });
    expect(said).toContain(`the key of this machine's TPM: sha256 ${fingerprintOf(after)}`);
    expect(said).toContain(
      `installation stopped: the seed of core-1 is sealed to the TPM with the key ${fingerprintOf(before)}: this machine's TPM has another key`,
    );
    expect(said).not.toContain("complete");
    // Nor does anyone get it who says that he is core-1; a passphrase opens that of hub-1.
    const asked = await chooses({ sealed, typed: ["core-1", "hub-1", passphrase] });
    expect(asked.match(/which node is this machine\?/g)).toHaveLength(2);
    expect(asked).toContain("nodes of this cluster: hub-1 \n");
    expect(asked).toContain("its seed is that of hub-1\n");
    expect(asked).toContain("complete");
    expect(await chooses({ sealed: await seedsFor(before) })).toContain(
      "installation stopped: no seed from the medium is for this machine: this machine's TPM has another key",
    );
  });
});

test("a machine without a TPM: said, and on to the passphrase only where it may open its seed", async () => {
  const key = await machine((tpm) => tpm.key());
  const sealed = await seedsFor(key, passphrase);
  const none = "this machine has no TPM 2.0, or its firmware has switched it off";
  const stopped = await chooses({ sealed, known: "core-1" });
  expect(stopped).toContain(`installation stopped: the seed of core-1 is sealed to the TPM with the key`);
  expect(stopped).toContain(`: ${none}`);
  const goesOn = await chooses({ sealed, known: "hub-1", typed: [passphrase] });
  expect(goesOn).toContain(none);
  expect(goesOn).toContain("its seed is that of hub-1\n");
  const forTpms = await seedsFor(key);
  expect(await chooses({ sealed: forTpms })).toContain(
    `installation stopped: no seed from the medium is for this machine: ${none}`,
  );
  // Its owner has a password.
  await machine(async (tpm) => {
    await tpm.does("tpm2_changeauth", "-c", "o", "secret");
    expect(await chooses({ sealed: forTpms })).toContain(
      "no seed from the medium is for this machine: this machine's TPM makes no key: its owner hierarchy has a password",
    );
  });
});

test("what is damaged, or is another node's by its other hardware, stops the installation", async () => {
  await machine(async (tpm) => {
    const sealed = await seedsFor(await tpm.key(), passphrase);
    expect(await chooses({ sealed: altered(sealed, "core-1.key") })).toContain(
      "installation stopped: this machine's TPM does not open the seed of core-1: its wrapped key is damaged",
    );
    expect(await chooses({ sealed: altered(sealed, "core-1.age") })).toContain(
      "installation stopped: the seed of core-1 cannot be opened: age: error",
    );
    expect(await chooses({ sealed: sealed.subarray(0, 4096 + 1000) })).toContain("installation stopped: ");
    expect(await chooses({ sealed, known: "hub-1" })).toContain(
      "installation stopped: this machine's TPM is that of core-1, its other hardware that of hub-1",
    );
  });
});

test("a node with neither TPM nor passphrase: no seeds are sealed", async () => {
  const seeds = [{ node: "hub-1", seed: Buffer.from("of hub-1") }];
  await expect(packSeeds(seeds, undefined)).rejects.toThrow("nothing seals the seeds of hub-1");
});

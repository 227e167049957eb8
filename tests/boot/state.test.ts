import { copyFile, cp, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildSeed } from "../../src/fabric/seed.ts";
import { run } from "../../src/host/run.ts";
import { partitionOffset } from "./image.ts";
import { withMachine, type Machine, type PowerOn } from "./machine.ts";
import { buildLab, makeScratch, type BuiltLab, type Scratch } from "./support.ts";

// The state partition of one machine: made at its first boot; then the disk, the TPM or the node is another one.
let scratch: Scratch;
let lab: BuiltLab;
beforeAll(async () => {
  scratch = await makeScratch();
  lab = await buildLab(scratch, "own");
  await boot("first", {}, async (machine) => {
    await machine.facts(({ state }) => state === "encrypted");
  });
});
afterAll(() => scratch?.remove());

interface Change extends Pick<PowerOn, "again" | "extraArguments" | "without"> {
  node?: string;
}

async function boot(name: string, change: Change, use: (machine: Machine) => Promise<void>): Promise<void> {
  const { spec, vault } = lab.project;
  const node = spec.nodes.find((one) => one.name === (change.node ?? "worker-1"))!;
  const { image, firmware } = lab.built;
  const seed = buildSeed(spec, vault, node.name).disk;
  await withMachine(scratch, { ...change, name, node, image: image.path, firmware, seed }, use);
}

/** A copy of the machine after its first boot. */
async function copyOfFirst(name: string): Promise<string> {
  const directory = join(scratch.directory, name);
  await mkdir(directory);
  for (const file of ["disk.qcow2", "vars.fd"]) {
    await copyFile(join(scratch.directory, "first", file), join(directory, file));
  }
  await cp(join(scratch.directory, "first", "tpm"), join(directory, "tpm"), { recursive: true });
  return directory;
}

/** Boots a machine that is to stop: what it says on the console and in its event. */
async function reasonOfStop(name: string, change: Change): Promise<string> {
  let note = "";
  await boot(name, change, async (machine) => {
    await machine.says(/kubedos: boot stopped: .+\n/);
    await machine.ends();
    const [, said = ""] = /kubedos: boot stopped: (.+)\n/.exec(await machine.console()) ?? [];
    const failed = (await machine.events()).find((event) => event.type === "node.phase" && event.phase === "failed");
    expect(failed).toMatchObject({ note: said });
    note = said;
  });
  return note;
}

test.concurrent("the same machine again: the same state, nothing is made anew", async () => {
  await copyOfFirst("again");
  await boot("again", { again: true }, async (machine) => {
    expect((await machine.facts(({ state }) => state !== undefined)).state).toBe("encrypted");
  });
});

test.concurrent("the disk in a machine with another TPM: not unlocked", async () => {
  const directory = await copyOfFirst("other-tpm");
  await rm(join(directory, "tpm"), { recursive: true });
  expect(await reasonOfStop("other-tpm", { again: true })).toMatch(/cannot be unlocked by this machine's TPM/);
});

test.concurrent("the disk under another node: refused, not wiped", async () => {
  await copyOfFirst("other-node");
  expect(await reasonOfStop("other-node", { again: true, node: "hub" })).toMatch(
    /belongs to another node or cluster than hub/,
  );
});

test.concurrent("a damaged state partition: refused, not made anew", async () => {
  const directory = await copyOfFirst("damaged");
  // Both LUKS headers, 16 MiB from the partition's start on.
  const at = await stateOffset(join(directory, "disk.qcow2"));
  await run("qemu-io", ["-c", `write -z ${at} 16M`, join(directory, "disk.qcow2")]);
  expect(await reasonOfStop("damaged", { again: true })).toMatch(/is damaged or not encrypted: found nothing known/);
});

test.concurrent("a machine without TPM: nothing is stored unencrypted instead", async () => {
  const without = ["socket,id=tpm,", "emulator,id=tpm0", "tpm-crb,"];
  expect(await reasonOfStop("no-tpm", { without })).toMatch(/this machine has no TPM 2\.0/);
});

/** First byte of the state partition, from the table that the first boot wrote. */
async function stateOffset(disk: string): Promise<number> {
  const head = `${disk}.head`;
  await run("qemu-img", ["dd", "-f", "qcow2", "-O", "raw", "bs=1M", "count=1", `if=${disk}`, `of=${head}`]);
  return partitionOffset(head, "kubedos-state");
}

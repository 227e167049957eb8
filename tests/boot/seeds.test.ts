import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../src/host/run.ts";
import { buildSeed } from "../../src/fabric/seed.ts";
import { createVault } from "../../src/vault/vault.ts";
import { inSlot, withMachine } from "./machine.ts";
import { withMicroVm, type MachineConfig, type MicroVm } from "./microvm.ts";
import { buildLab, labSpec, makeScratch, type BuiltLab, type Scratch } from "./support.ts";

// The sealed image is the right one each time: what is wrong is the small disk with the node's secrets. Who reads it is
// the boot image's initrd; without firmware and TPM around it a machine comes to that in a third of the time. All that
// can be wrong with a seed, without a machine: tests/media/initrd-seed.slow.test.ts.
let scratch: Scratch;
let lab: BuiltLab;
/** Where kernel, initrd and machines are, and a start script that, unlike the artifact's own, takes any seed. */
let folder: string;
let script: string;
beforeAll(async () => {
  scratch = await makeScratch();
  lab = await buildLab(scratch, "own", undefined, labSpec("lab", ["raw", "firecracker"]));
  const archive = lab.built.artifacts.find(({ target }) => target === "firecracker")!.path;
  await run("tar", ["--extract", `--directory=${scratch.directory}`, `--file=${archive}`]);
  folder = join(scratch.directory, "lab.firecracker");
  script = join(scratch.directory, "start");
  const steps = [
    "#!/bin/sh -eu",
    `directory="${scratch.directory}/$1.machine"`,
    'mkdir "$directory"',
    `cp "${folder}/vmlinux" "${folder}/initrd" "$directory"`,
    `cp --sparse=always "${lab.built.image.path}" "$directory/disk.raw"`,
    '[ ! -e "$2" ] || cp "$2" "$directory/seed.img"',
    'cd "$directory" && exec "$FIRECRACKER"',
  ];
  await writeFile(script, `${steps.join("\n")}\n`, { mode: 0o755 });
});
afterAll(() => scratch?.remove());

const node = "worker-1";
const headerBytes = 4096;

/** The seed of the node as it should be. */
function seed(vault = lab.project.vault): Buffer {
  return Buffer.from(buildSeed(lab.project.spec, vault, node).disk);
}

async function boot(name: string, disk: Buffer | undefined, use: (machine: MicroVm) => Promise<void>): Promise<void> {
  const text = await readFile(join(folder, `machines/${node}.json`), "utf8");
  const config = JSON.parse(text) as MachineConfig;
  const file = join(scratch.directory, `${name}.seed`);
  if (disk === undefined) config.drives = config.drives.filter(({ drive_id: id }) => id !== "seed");
  else await writeFile(file, disk);
  const port = 20_000 + (process.pid % 20_000);
  await inSlot(() => withMicroVm(scratch, { script, node: name, seed: file, args: [], config, port }, use));
}

test.concurrent("control: with its own seed the node is sealed, and is who the seed says", async () => {
  const { image, firmware } = lab.built;
  const worker = lab.project.spec.nodes.find(({ name }) => name === node)!;
  const whole = { name: "control", seed: seed(), node: worker, image: image.path, firmware };
  await withMachine(scratch, whole, async (machine) => {
    await machine.reaches("sealed");
    const sealed = (await machine.events()).find((event) => event.type === "node.phase" && event.phase === "sealed");
    expect(sealed).toMatchObject({ node, note: expect.stringContaining(`seed of ${node}`) });
    expect(await machine.console()).not.toContain("boot stopped");
  });
});

describe.concurrent("the boot stops at a seed", () => {
  const cases: Record<string, [make: () => Promise<Buffer> | Buffer | undefined, message: RegExp]> = {
    "that is not there": [() => undefined, /no seed disk found/],
    "made by another foundry": [
      async () => {
        const vault = await createVault(join(scratch.directory, "other.vault"), { passphrase: "of another foundry" });
        return seed(vault);
      },
      /is altered or was not made by this foundry/,
    ],
    "with one bit changed in its payload": [
      () => {
        const disk = seed();
        disk[headerBytes + 700]! ^= 0x01;
        return disk;
      },
      /is altered or was not made by this foundry/,
    ],
  };
  test.each(Object.entries(cases))("%s", async (title, [make, message]) => {
    await boot(title.replaceAll(" ", "-"), await make(), async (machine) => {
      await machine.shows(/kubedos: boot stopped: .+\n/);
      const [, stopped = ""] = /kubedos: boot stopped: (.+)\n/.exec(await machine.console()) ?? [];
      expect(stopped).toMatch(message);
      // The operator's side learns the same, and then the machine is off.
      await machine.ends();
      const events = await machine.events();
      expect(events).toEqual([
        {
          at: expect.any(String),
          type: "node.phase",
          phase: "failed",
          uptimeSeconds: expect.any(Number),
          note: stopped,
        },
      ]);
    });
  });
});

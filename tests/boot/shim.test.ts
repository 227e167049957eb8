import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { locateFoundry } from "../../src/assemble/foundry.ts";
import { buildSeed } from "../../src/fabric/seed.ts";
import { copyImage, partitionOffset, sandbox } from "./image.ts";
import { withMachine, type Machine } from "./machine.ts";
import { buildLab, labSpec, makeScratch, until, type BuiltLab, type Scratch } from "./support.ts";

// Boot images that start by Debian's shim (`trust.shim`): on firmware with Microsoft's keys, which does not know the foundry,
// and on firmware with the foundry's.
let scratch: Scratch;
let lab: BuiltLab;
beforeAll(async () => {
  scratch = await makeScratch();
  lab = await buildLab(scratch, "own", undefined, `${labSpec("lab")}trust: { shim: true }\n`);
});
afterAll(() => scratch?.remove());

async function boot(
  name: string,
  vars: string,
  image: string,
  use: (machine: Machine) => Promise<void>,
): Promise<void> {
  const { spec, vault } = lab.project;
  const [, node] = spec.nodes;
  const seed = buildSeed(spec, vault, node!.name).disk;
  const firmware = { code: lab.built.firmware.code, vars };
  await withMachine(scratch, { name, node: node!, image, firmware, seed }, use);
}

/** OVMF's variables with the keys that machines are sold with. */
function microsoftKeys(): string {
  const { directory } = locateFoundry(lab.project.lock, lab.project.store);
  return join(directory, "usr/share/OVMF/OVMF_VARS_4M.ms.fd");
}

const [down, enter] = ["\u001b[B", "\r"] as const;

/** What docs/targets.md says that the operator of the machine does: keys, and what is on the screen that they lead to. */
async function enrol(machine: Machine): Promise<void> {
  const steps: [keys: string[], then: RegExp][] = [
    [[enter], /Booting in \d/],
    [[" "], /Enroll key from disk|Enroll hash from disk/],
    [[down, enter], /KUBEDOS/],
    [[enter], /KUBEDOS\.CER|EFI\//],
    [[down, enter], /View key 0|Continue/],
    [[down, enter], /\bYes\b|\bNo\b/],
    // QEMU's log of a console loses a byte now and then: a second text of the same screen.
    [[down, enter], /Reboot|Enroll (key|hash) from disk/],
    [[enter], /BdsDxe: starting/],
  ];
  for (const [keys, then] of steps) {
    for (const key of keys.slice(0, -1)) await press(machine, key, /./);
    await press(machine, keys.at(-1)!, then);
  }
}

/** Types a key when the screen is at rest, and again where nothing is drawn for it; waits for what it leads to. */
async function press(machine: Machine, key: string, then: RegExp): Promise<void> {
  await until("the screen at rest", 20, async () => {
    const drawn = (await machine.console()).length;
    await delay(700); // it counts seconds
    return drawn === (await machine.console()).length || undefined;
  }).catch(() => undefined);
  const before = (await machine.console()).length;
  await machine.types(key);
  let typed = Date.now();
  await until(
    `${then} after ${JSON.stringify(key)}`,
    240,
    async () => {
      const drawn = (await machine.console()).slice(before);
      if (then.test(drawn)) return true;
      if (drawn === "" && Date.now() - typed > 20_000) {
        typed = Date.now();
        await machine.types(key);
      }
      return undefined;
    },
    async () => (await machine.console()).slice(-3_000),
  );
}

test.concurrent("Microsoft's keys: refused, until the operator enrols the foundry's certificate; then sealed, up to its planes", async () => {
  const image = await copyImage(scratch, lab, "enrolled");
  await boot("enrolled", microsoftKeys(), image, async (machine) => {
    await machine.shows(/Verification failed|Security Violation/);
    await enrol(machine);
    await machine.reaches("planes");
    const facts = await machine.facts(({ sealed, state }) => sealed && state !== undefined);
    expect(facts).toMatchObject({ secureBoot: true, setupMode: false, lockdown: "integrity", state: "encrypted" });
  });
});

test.concurrent("the foundry's keys: started with nobody there", async () => {
  const image = await copyImage(scratch, lab, "unattended");
  await boot("unattended", lab.built.firmware.vars, image, async (machine) => {
    await machine.reaches("sealed");
    expect(await machine.console()).not.toContain("Verification failed");
  });
});

test.concurrent("the foundry's keys: what Debian signed is not started, though the shim would", async () => {
  const image = await copyImage(scratch, lab, "debian");
  const disk = `/out/debian.raw@@${await partitionOffset(image, "kubedos-esp")}`;
  const copy = `mcopy -i ${disk} ::/EFI/BOOT/MMX64.EFI /work/mm && mcopy -o -i ${disk} /work/mm ::/EFI/BOOT/GRUBX64.EFI`;
  await sandbox(lab, ["sh", "-c", copy], {}, join(scratch.directory, "images"));
  await boot("debian", lab.built.firmware.vars, image, async (machine) => {
    await machine.shows(/Verification failed|Security Violation|Access Denied/);
    expect(await machine.console()).not.toContain("MOK management");
  });
});

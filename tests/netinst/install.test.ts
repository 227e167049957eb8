import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { locateFoundry } from "../../src/assemble/foundry.ts";
import { nodeSeed } from "../../src/lifecycle/up-project.ts";
import { copyVariables, withInstaller } from "../boot/installer.ts";
import { withMachine } from "../boot/machine.ts";
import { buildLab, labSpec, makeScratch, type BuiltLab, type Scratch } from "../boot/support.ts";

// Debian's installer from power-on to a node that answers, without any network: `make test-netinst`. What is on the
// medium is checked in tests/boot/netinst.test.ts.
const limitSeconds = 3600;
let scratch: Scratch;
let lab: BuiltLab;
let medium: string;
beforeAll(async () => {
  scratch = await makeScratch();
  const spec = labSpec("lab", ["netinst"])
    .replace("nodes:", "platform: { kernel: generic, state: plain }\nnodes:")
    .replace("{ name: hub, roles: [hub] }", "{ name: hub, roles: [hub], memoryMiB: 1024, diskGiB: 8 }");
  lab = await buildLab(scratch, "foundry", undefined, spec);
  medium = lab.built.artifacts.find(({ target }) => target === "netinst")!.path;
});
afterAll(() => scratch?.remove());

/** Firmware as machines come: Secure Boot with Microsoft's keys. */
function microsoftFirmware(): { code: string; vars: string } {
  const { project } = lab;
  const file = (name: string) => join(locateFoundry(project.lock, project.store).directory, "usr/share/OVMF", name);
  return { code: file("OVMF_CODE_4M.ms.fd"), vars: file("OVMF_VARS_4M.ms.fd") };
}

// Both at once: an installation keeps one core busy.
test.concurrent.each(["bios", "uefi"])(
  "%s: installed without a question, and the node answers",
  async (firmwareKind) => {
    const disk = join(scratch.directory, `${firmwareKind}.disk`);
    await writeFile(disk, "");
    await truncate(disk, 8 * 1024 ** 3);
    const { code, vars } = microsoftFirmware();
    const firmware = { code, vars: await copyVariables(scratch, vars, firmwareKind) };
    const uefi = firmwareKind === "uefi";
    await withInstaller(
      scratch,
      {
        name: `${firmwareKind}-install`,
        medium,
        disks: [`file=${disk},format=raw,cache=unsafe`],
        ...(uefi ? { firmware } : {}),
        limitSeconds,
      },
      async (installer) => {
        await installer.shows(/installing Debian on \/dev\/vda/);
        await installer.shows(/comparing the packages with the lock/);
        await installer.shows(/installed; the machine restarts/);
        await installer.restarts();
        expect(await installer.console()).not.toContain("installation stopped");
      },
    );
    const node = lab.project.spec.nodes.find(({ name }) => name === "hub")!;
    const { disk: seed } = await nodeSeed(lab.project, "hub");
    // By BIOS there are neither flash nor keys.
    const without = uefi ? [] : ["if=pflash", "driver=cfi.pflash01"];
    const options = {
      name: `${firmwareKind}-node`,
      node,
      image: disk,
      firmware,
      seed,
      without,
      // One has no screen: what GRUB and the kernel say goes nowhere, or to the serial line.
      extraArguments: uefi ? ["-vga", "std"] : [],
    };
    await withMachine(scratch, options, async (machine) => {
      await machine.reaches("rendered");
      const facts = await machine.facts(({ planes }) => planes.length === 3);
      expect(facts.planes.map(({ name }) => name)).toEqual(["wg1", "wg2", "wg3"]);
      expect(facts).toMatchObject({ sealed: false });
      expect(facts.rootHash).toBeUndefined();
      expect(facts.secureBoot ?? false).toBe(uefi);
    });
  },
);

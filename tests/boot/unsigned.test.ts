import { afterAll, beforeAll, expect, test } from "vitest";
import { buildSeed } from "../../src/fabric/seed.ts";
import { withMachine, type Machine } from "./machine.ts";
import { buildLab, makeScratch, type BuiltLab, type Scratch } from "./support.ts";

// A right image and a right seed, but the machine's definition slips in settings that nobody has signed.
let scratch: Scratch;
let lab: BuiltLab;
beforeAll(async () => {
  scratch = await makeScratch();
  lab = await buildLab(scratch, "own");
});
afterAll(() => scratch?.remove());

async function boot(name: string, extraArguments: string[], use: (machine: Machine) => Promise<void>): Promise<void> {
  const { spec, vault } = lab.project;
  const node = spec.nodes[1]!;
  const { image, firmware } = lab.built;
  const seed = buildSeed(spec, vault, node.name).disk;
  await withMachine(scratch, { name, node, image: image.path, firmware, seed, extraArguments }, use);
}

test.concurrent("words that the firmware's tables add to the kernel's command line stop the boot", async () => {
  const extra = "io.systemd.stub.kernel-cmdline-extra=systemd.debug_shell=ttyS0";
  await boot("command-line", ["-smbios", `type=11,value=${extra}`], async (machine) => {
    await machine.shows(/kubedos: boot stopped: .*nobody has signed: systemd\.debug_shell=ttyS0\n/);
    await machine.ends();
    const phases = (await machine.events()).flatMap((event) => (event.type === "node.phase" ? [event.phase] : []));
    expect(phases).toEqual(["failed"]);
  });
});

test.concurrent("words for the kernel itself do not reach it: another first program is not started", async () => {
  const extra = "io.systemd.stub.kernel-cmdline-extra=rdinit=/bin/busybox";
  await boot("first-program", ["-smbios", `type=11,value=${extra}`], async (machine) => {
    await machine.shows(/kubedos: boot stopped: .*nobody has signed: rdinit=\/bin\/busybox\n/);
    await machine.ends();
    const phases = (await machine.events()).flatMap((event) => (event.type === "node.phase" ? [event.phase] : []));
    expect(phases).toEqual(["failed"]);
  });
});

test.concurrent("credentials beside the seed's are not taken: no name, no key, no unit", async () => {
  // systemd.system-credentials(7): units and drop-ins may come as credentials. The agent's start would wait for this one.
  const unit =
    "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=sh -c 'echo INTRUDER > /dev/ttyS0'\n";
  const dropIn = "[Unit]\nWants=intruder.service\nAfter=intruder.service\n";
  const credentials = {
    "kubedos.node": "hub",
    "system.hostname": "hub",
    "systemd.extra-unit.intruder.service": unit,
    "systemd.unit-dropin.kubedos-agent.service": dropIn,
  };
  const encoded = Object.entries(credentials).map(
    ([name, text]) => [name, Buffer.from(text).toString("base64")] as const,
  );
  const tables = encoded.flatMap(([name, text]) => [
    "-smbios",
    `type=11,value=io.systemd.credential.binary:${name}=${text}`,
  ]);
  const fwCfg = ["-fw_cfg", "name=opt/io.systemd.credentials/kubedos.node,string=hub"];
  await boot("credentials", [...tables, ...fwCfg], async (machine) => {
    await machine.reaches("rendered");
    const names = (await machine.events()).flatMap((event) => (event.type === "node.phase" ? [event.node] : []));
    expect([...new Set(names)]).toEqual(["worker-1"]);
    expect(await machine.console()).not.toContain("INTRUDER");
  });
});

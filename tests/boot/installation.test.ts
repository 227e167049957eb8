import { createHash } from "node:crypto";
import { mkdir, open, readdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { stageId } from "../../src/assemble/engine.ts";
import { buildGraph } from "../../src/lifecycle/graph.ts";
import { build, type BuildResult } from "../../src/lifecycle/build.ts";
import { openProject, type Project } from "../../src/lifecycle/project.ts";
import { run } from "../../src/host/run.ts";
import { findInIso } from "../../src/media/iso9660.ts";
import { readAction } from "../../src/store/actions.ts";
import { hashFile } from "../../src/store/store.ts";
import { readTpmKey } from "../../src/spec/tpm-keys.ts";
import { kubedos } from "../cli/kubedos.ts";
import { withTpm } from "../media/tpm.ts";
import { partitionOffset, sandbox } from "./image.ts";
import { copyVariables, withInstaller, type Installer, type InstallerOptions } from "./installer.ts";
import { withMachine } from "./machine.ts";
import { startDhcp, withRack } from "./rack.ts";
import { enrolledVariables, mediumWithoutShim, netbootWithoutShim } from "./shim.ts";
import { makeScratch, type Scratch } from "./support.ts";

// One medium for three nodes, of which one is known by its machine's UUID, one by its network card. It begins with a shim; two
// tests take that away. Which disk is chosen, bad blocks, wrong passphrases and what else stops the writer, is in tests/media/.
const uuid = "6b1d2a8e-3c1f-4a52-9f0e-0123456789ab";
const mac = "52:54:00:77:00:02";
const passphrase = "correct horse battery staple";
let scratch: Scratch;
let project: Project;
let built: BuildResult;
let medium: string;
let netboot: string;
/** sha256 and size of the image that the medium installs. */
let image: { sha256: string; sizeBytes: number };
beforeAll(async () => {
  scratch = await makeScratch();
  await kubedos(["--version"]); // bundles the agent where that is due
  const specFile = join(scratch.directory, "lab.yaml");
  await writeFile(join(scratch.directory, "worker-1.pem"), await tpmKey("tpm-1"));
  await writeFile(
    specFile,
    [
      "apiVersion: kubedos/v1",
      "metadata: { name: lab }",
      "platform: { kernel: generic }",
      "underlay: { cidr: 10.100.0.0/24 }",
      "targets: [raw, iso, netboot]",
      "trust: { shim: true }",
      "nodes:",
      "  - { name: hub, roles: [hub] }",
      `  - { name: worker-1, hardware: { uuid: ${uuid}, tpm: worker-1.pem } }`,
      `  - { name: worker-2, hardware: { mac: "${mac}" } }`,
      "",
    ].join("\n"),
  );
  project = await openProject(specFile, { vault: {}, create: true }, scratch.context);
  built = await build(project.build, project.paths, project.store, scratch.context);
  const artifact = (target: string) => built.artifacts.find((one) => one.target === target)!;
  medium = artifact("iso").path;
  netboot = artifact("netboot").path;
  image = artifact("raw");
});
afterAll(() => scratch?.remove());

/** The key for seeds of a TPM, which is made where there is none. */
function tpmKey(name: string): Promise<string> {
  const directory = join(scratch.directory, name);
  return withTpm(directory, join(directory, "device"), (tpm) => tpm.key());
}

/** State of that TPM. */
const tpmState = (name: string) => join(scratch.directory, name, "state");

/** A disk of zeros. */
async function disk(name: string, sizeMiB = 2048): Promise<string> {
  const file = join(scratch.directory, `${name}.disk`);
  await writeFile(file, "");
  await truncate(file, sizeMiB * 1024 * 1024);
  return file;
}

const drive = (file: string) => `file=${file},format=raw`;

/** sha256 of the first so many bytes of a disk, without those that a seed takes. */
async function hashOf(file: string, sizeBytes: number): Promise<string> {
  const seedAt = await partitionOffset(file, "kubedos-seed");
  const hash = createHash("sha256");
  const handle = await open(file);
  const chunk = Buffer.alloc(1024 * 1024);
  for (let at = 0; at < sizeBytes; at += chunk.length) {
    await handle.read(chunk, 0, chunk.length, at);
    hash.update(at >= seedAt && at < seedAt + 2 * chunk.length ? Buffer.alloc(chunk.length) : chunk);
  }
  await handle.close();
  return hash.digest("hex");
}

/** A stick as `kubedos write` makes it, with the seeds of all nodes. */
async function stickWithSeeds(name: string): Promise<string> {
  const stick = await disk(name, 512);
  const device = (await run("losetup", ["--find", "--show", stick])).stdout.trim();
  try {
    const write = (...seeds: string[]) =>
      kubedos(["write", medium, device, "--yes", "--spec", project.paths.spec, "--seeds", ...seeds], {
        env: scratch.env,
      });
    const unsealed = await write();
    expect(unsealed).toMatchObject({ status: 2 });
    expect(unsealed.stderr).toContain("nothing seals the seeds of hub, worker-2: no passphrase, no TPM's key");
    const written = await write(await words());
    expect(written.status, written.stderr).toBe(0);
    expect(written.stdout).toContain("seeds of 3 nodes, 1 of them for their TPMs alone");
  } finally {
    await run("losetup", ["--detach", device]);
  }
  return stick;
}

/** A file with the passphrase. */
async function words(): Promise<string> {
  const file = join(scratch.directory, "words.txt");
  await writeFile(file, `${passphrase}\n`);
  return file;
}

function install(
  options: Omit<InstallerOptions, "medium"> & { medium?: string },
  use: (installer: Installer) => Promise<void>,
): Promise<void> {
  return withInstaller(scratch, { medium, ...options }, use);
}

test.each(["iso", "netboot"])("made again, %s has the same bytes", async (target) => {
  const graph = buildGraph(project.build, project.store);
  const { stage } = graph.targets.find(({ name }) => name === target)!;
  const inputs: Record<string, string> = {};
  for (const [name, input] of Object.entries(stage.inputs)) {
    if ("sha256" in input) {
      inputs[name] = project.store.path(input.sha256);
      continue;
    }
    const action = await readAction(project.store, stageId(input.stage));
    inputs[name] = project.store.path(action!.outputs[input.output]!.sha256);
  }
  const out = join(scratch.directory, `again-${target}`);
  await mkdir(out);
  await stage.run({ inputs, meta: {}, out, progress: () => undefined, signal: scratch.context.signal });
  const made = join(out, "image");
  expect(await hashFile(made)).toBe(built.artifacts.find((one) => one.target === target)!.sha256);
  expect((await stat(made)).size).toBeLessThan(350e6);
  if (target === "netboot") return;
  // With a repository (install.repository), here a small one.
  await writeFile(join(out, "mark"), "repository");
  inputs["darksite"] = join(out, "darksite.tar");
  await run("tar", ["-cf", inputs["darksite"], "-C", out, "mark"]);
  const more = join(out, "more");
  await stage.run({ inputs, meta: {}, out: more, progress: () => undefined, signal: scratch.context.signal });
  const { offsetBytes, sizeBytes } = (await findInIso(join(more, "image"), "DARKSITE/MARK"))!;
  const content = Buffer.alloc(sizeBytes);
  const handle = await open(join(more, "image"));
  await handle.read(content, 0, sizeBytes, offsetBytes);
  await handle.close();
  expect(content.toString()).toBe("repository");
});

test("seeds of all nodes as files: one each, for their owner's eyes only", async () => {
  const seeds = join(scratch.directory, "seed-files");
  const { spec, vault } = project.paths;
  const made = await kubedos(["seed", spec, "--all", "--out", seeds], { env: scratch.env });
  expect(made).toMatchObject({ status: 0 });
  const names = project.spec.nodes.map(({ name }) => name);
  expect((await readdir(seeds)).toSorted()).toEqual(names.map((name) => `${name}.seed`).toSorted());
  for (const name of names) {
    const file = join(seeds, `${name}.seed`);
    const content = await readFile(file);
    expect(content.toString("latin1")).toMatch(new RegExp(`^KUBEDOS-SEED 1 \\d+\\n(.|\n)*\nnode=${name}\n`));
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  }
  expect(await kubedos(["seed", spec, "nobody", "--out", seeds], { env: scratch.env })).toMatchObject({ status: 2 });
  expect((await stat(vault)).mode & 0o777).toBe(0o600);
});

test.concurrent("a stick, by a shim on Microsoft's keys, with sealed seeds: the machine's TPM opens its own, and it starts as its node", async () => {
  const target = await disk("whole");
  const firmware = { code: built.firmware.code, vars: await enrolledVariables(scratch, project, "whole") };
  const options = {
    name: "whole",
    medium: await stickWithSeeds("stick"),
    stick: true,
    disks: [drive(target)],
    firmware,
    tpm: tpmState("tpm-1"),
  };
  await install({ ...options, extraArguments: ["-uuid", uuid] }, async (installer) => {
    await installer.shows(/this machine is worker-1/);
    await installer.shows(/the seed of worker-1 is opened by this machine's TPM/);
    await installer.shows(/verified: sha256/);
    await installer.shows(/seed of worker-1 stored/);
    await installer.shows(/boot entry: kubedos/);
    await installer.restarts();
  });
  expect(await hashOf(target, image.sizeBytes)).toBe(image.sha256);
  // The installed disk alone, with the variables that the writer has changed.
  const node = project.spec.nodes.find(({ name }) => name === "worker-1")!;
  await withMachine(scratch, { name: "installed", node, image: target, firmware, seed: undefined }, async (machine) => {
    await machine.reaches("rendered");
    const sealed = (await machine.events()).find((event) => event.type === "node.phase" && event.phase === "sealed");
    expect(sealed).toMatchObject({ node: "worker-1" });
  });
});

test.concurrent("a CD, by BIOS, without seeds, after a power cut in the midst of the write: begun anew, and whole", async () => {
  const target = await disk("cut");
  const options = { name: "cut", disks: [drive(target)] };
  await install(options, async (installer) => {
    await installer.shows(/written \d+ of \d+ MiB/);
    await installer.cutsPower();
  });
  expect((await readHead(target)).every((byte) => byte === 0)).toBe(true);
  await install(options, async (installer) => {
    await installer.shows(/no seeds from the medium/);
    await installer.shows(/verified: sha256/);
    await installer.shows(/switch its firmware to UEFI/);
    await installer.restarts();
  });
  expect(await hashOf(target, image.sizeBytes)).toBe(image.sha256);
});

test.concurrent("a CD, by UEFI with the foundry's keys and no shim, taken out while it is read: stopped, and the disk is not one that starts", async () => {
  const target = await disk("ejected");
  const vars = await copyVariables(scratch, built.firmware.vars, "ejected");
  const firmware = { code: built.firmware.code, vars };
  const direct = await mediumWithoutShim(project, medium, join(scratch.directory, "direct"));
  await install({ name: "ejected", medium: direct, disks: [drive(target)], firmware }, async (installer) => {
    await installer.shows(/written \d+ of \d+ MiB/);
    await installer.ejects();
    await installer.shows(/installation stopped: the medium cannot be read to its end/);
  });
  expect((await readHead(target)).every((byte) => byte === 0)).toBe(true);
});

test.concurrent("network, UEFI with the foundry's keys and no shim, addresses from us: the known machine is installed, a foreign one left alone", async () => {
  const target = await disk("pxe");
  const spec = join(scratch.directory, "lab.yaml");
  const args = [
    await netbootWithoutShim(scratch, netboot),
    "--range",
    "10.77.0.50-10.77.0.90",
    "--seeds",
    await words(),
    "--spec",
    spec,
  ];
  await withRack(scratch, "pxe", args, async (rack) => {
    const foreign = "52:54:00:77:00:99";
    await run("nsenter", [rack.enter[1]!, "ip", "link", "add", "guest", "type", "veth", "peer", "name", "port"]);
    await run("nsenter", [rack.enter[1]!, "ip", "link", "set", "guest", "address", foreign, "up"]);
    await run("nsenter", [rack.enter[1]!, "ip", "link", "set", "port", "master", "kd0", "up"]);
    const asks = ["busybox", "udhcpc", "-i", "guest", "-f", "-n", "-q", "-t", "2", "-T", "1", "-s", "/bin/true"];
    expect((await run("nsenter", [rack.enter[1]!, ...asks], { okStatuses: [0, 1] })).status).toBe(1);
    await rack.says(new RegExp(`${foreign} asks and is no node's .hardware.mac.: left alone`));

    const network = { enter: rack.enter, card: await rack.plug(mac, "") };
    const vars = await copyVariables(scratch, built.firmware.vars, "pxe");
    const firmware = { code: built.firmware.code, vars };
    await withInstaller(scratch, { name: "pxe", network, disks: [drive(target)], firmware }, async (installer) => {
      await installer.shows(/image from http:\/\/10\.77\.0\.1:8080 by eth0/);
      await installer.shows(/this machine is worker-2/);
      await installer.shows(/this machine has no TPM 2.0/);
      await installer.shows(/Enter passphrase/);
      await installer.types(passphrase);
      await installer.shows(/verified: sha256/);
      await installer.shows(/boot entry: kubedos/);
      await installer.restarts();
    });
    expect(await hashOf(target, image.sizeBytes)).toBe(image.sha256);
    const said = await rack.stop();
    expect(said).toMatch(/worker-2 \(10\.77\.0\.\d+\) has loaded boot\.efi/);
    expect(said).toContain(`installed: worker-2; left alone: ${foreign}`);
  });
});

test.concurrent("network, BIOS, beside another DHCP server: installed", async () => {
  const target = await disk("bios");
  await withRack(scratch, "bios", [netboot, "--proxy"], async (rack) => {
    const endDhcp = await startDhcp(scratch, rack);
    try {
      const network = { enter: rack.enter, card: await rack.plug(mac) };
      await withInstaller(scratch, { name: "bios", network, disks: [drive(target)] }, async (installer) => {
        await installer.shows(/no seeds from http/);
        await installer.shows(/verified: sha256/);
        await installer.restarts();
      });
      expect(await rack.stop()).toContain("installed: worker-2; left alone: none");
    } finally {
      await endDhcp();
    }
    expect(await hashOf(target, image.sizeBytes)).toBe(image.sha256);
  });
});

test.concurrent("network, UEFI by HTTP, by a shim on Microsoft's keys; the server goes in the midst: stopped, and the disk is not one that starts", async () => {
  const target = await disk("http");
  await withRack(scratch, "http", [netboot, "--range", "10.77.0.50-10.77.0.90"], async (rack) => {
    const vars = await enrolledVariables(scratch, project, "http");
    const without = ["IPv4PXESupport", "IPv6PXESupport"].map((what) => `name=opt/org.tianocore/${what},string=n`);
    const card = [...(await rack.plug(mac, "")), ...without.flatMap((word) => ["-fw_cfg", word])];
    const firmware = { code: built.firmware.code, vars };
    const network = { enter: rack.enter, card };
    await withInstaller(scratch, { name: "http", network, disks: [drive(target)], firmware }, async (installer) => {
      await installer.shows(/written \d+ of \d+ MiB/);
      const said = await rack.stop();
      for (const name of ["shimx64.efi", "grubx64.efi"]) expect(said).toContain(`has loaded ${name}`);
      await installer.shows(/installation stopped: http:\/\/10\.77\.0\.1:8080 cannot be read to its end/);
    });
    expect((await readHead(target)).every((byte) => byte === 0)).toBe(true);
  });
});

test.concurrent.each([
  // By UEFI the writer asks DHCP.
  ["BIOS", "i386-pc-pxe", ["-p", "(pxe)/", "pxe"], /no server with the image: http:\/\/10\.0\.2\.2:9 does not answer/],
  ["UEFI", "x86_64-efi", ["-p", "(tftp)/", "efinet"], /no server with the image: eth0 has an address, and nobody says/],
] as const)("a GRUB of one's own, by %s: the configuration starts the writer", async (name, format, own, says) => {
  const directory = join(scratch.directory, `grub-${name}-files`);
  await mkdir(directory);
  await run("tar", ["-xf", netboot, "-C", directory]);
  // What the server does for its own machines.
  const config = await readFile(join(directory, "grub.cfg"), "utf8");
  await writeFile(join(directory, "grub.cfg"), config.replaceAll("@SERVER@", "http://10.0.2.2:9"));
  const parts = ["boot", "chain", "configfile", "linux", "net", "normal", "test", "tftp"];
  await run("grub-mkimage", ["-O", format, "-o", join(directory, "grub"), ...own, ...parts]);
  const card = [
    ...["-netdev", `user,id=net,tftp=${directory},bootfile=grub`],
    ...["-device", `virtio-net-pci,netdev=net,mac=${mac},bootindex=0${name === "UEFI" ? ",romfile=" : ""}`],
    ...["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"],
  ];
  // No keys: a GRUB that was made here is not signed.
  const vars = await copyVariables(scratch, "/usr/share/OVMF/OVMF_VARS_4M.fd", "grub");
  const firmware = name === "UEFI" ? { code: built.firmware.code, vars } : undefined;
  const options = { name: `grub-${name}`, network: { enter: [], card }, disks: [], firmware };
  await withInstaller(scratch, options, async (installer) => {
    await installer.shows(says);
    expect(await installer.console()).toContain("kubedos: writer of lab");
  });
});

test.concurrent("recovery: a key, and a support bundle is on the stick; no disk is written", async () => {
  const target = await disk("untouched");
  const sticks = join(scratch.directory, "sticks");
  await sandbox({ project }, ["mkfs.vfat", "-C", "/out/part", "32768"], {}, sticks);
  const stick = join(sticks, "stick");
  await writeFile(stick, Buffer.concat([Buffer.alloc(2 ** 20), await readFile(join(sticks, "part"))]));
  await run("sfdisk", ["-q", stick], { input: "label: dos\n2048,,c\n" });
  const extraArguments = [
    ...["-device", "qemu-xhci", "-drive", `if=none,id=stick,format=raw,file=${stick}`],
    ...["-device", "usb-storage,drive=stick,removable=on"],
  ];
  const key = await tpmKey("tpm-2");
  const tpm = tpmState("tpm-2");
  await install({ name: "recovery", disks: [drive(target)], tpm, extraArguments }, async (installer) => {
    await installer.shows(/press r within 3 seconds/);
    await installer.types("r");
    const { fingerprint } = readTpmKey(key, "key");
    await installer.shows(new RegExp(`the key of this machine's TPM: sha256 ${fingerprint}`));
    await installer.shows(/the support bundle kubedos-support-\d+\.tar\.gz is on \/dev\/sd/);
    await installer.restarts();
    expect(await installer.console()).not.toContain("writing to");
  });
  await sandbox({ project }, ["mcopy", "-n", "-i", "/out/stick@@1048576", "::/*.gz", "/out/"], {}, sticks);
  const [bundle] = (await readdir(sticks)).filter((name) => name.endsWith(".gz"));
  const archive = join(sticks, bundle!);
  const { stdout } = await run("tar", ["-tzf", archive]);
  expect(stdout.split("\n")).toEqual(expect.arrayContaining(["support/dmesg", "support/pci", "support/disks"]));
  expect((await run("tar", ["-xzOf", archive, "support/tpm.pem"])).stdout).toBe(key);
});

async function readHead(file: string): Promise<Buffer> {
  const head = Buffer.alloc(1024 * 1024);
  const handle = await open(file);
  await handle.read(head, 0, head.length, 0);
  await handle.close();
  return head;
}

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { locateFoundry } from "../../src/assemble/foundry.ts";
import { run } from "../../src/host/run.ts";
import { runInSandbox } from "../../src/host/sandbox.ts";
import { type BuildResult } from "../../src/lifecycle/build.ts";
import { buildGraph } from "../../src/lifecycle/graph.ts";
import { verifyOutput } from "../../src/seal/verify.ts";
import { targetNames, type TargetName } from "../../src/spec/types.ts";
import type { AmiPlan } from "../../src/targets/ami.ts";
import { writeVhdx } from "../../src/targets/vhdx.ts";
import { writeImage } from "../fakes/disk-images.ts";
import type { FabricProbe } from "../../shared/agent-api.ts";
import type { NodeFacts } from "../../shared/events.ts";
import { kubedos } from "../cli/kubedos.ts";
import { chooseAccelerator } from "../../src/substrates/qemu/accelerator.ts";
import { withMicroVm, type MachineConfig, type MicroVm } from "./microvm.ts";
import { buildLab, labSpec, makeScratch, until, type BuiltLab, type Scratch } from "./support.ts";

// The manufactured image in every format: read back by the foundry's qemu-img, and made twice.
const formats = targetNames.filter((name) => !["iso", "netboot", "netinst"].includes(name)); // see installation.test.ts, netinst.test.ts
let scratch: Scratch;
let lab: BuiltLab;
let built: BuildResult;
beforeAll(async () => {
  scratch = await makeScratch();
  lab = await buildLab(scratch, "targets", undefined, labSpec("lab", formats));
  built = lab.built;
});
afterAll(() => scratch?.remove());

function artifact(target: TargetName): string {
  return built.artifacts.find((one) => one.target === target)!.path;
}

/** Runs a command of the foundry with files as `/in/NAME`. */
async function foundry(command: readonly [string, ...string[]], files: Record<string, string>): Promise<string> {
  const { lock, store } = lab.project;
  const root = locateFoundry(lock, store).directory;
  const out = join(scratch.directory, "out");
  return (await runInSandbox({ root, command, inputs: files, out, epoch: lock.epoch })).stdout;
}

async function sha256(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

test.each([
  ["qcow2", "qcow2"],
  ["vmdk", "vmdk"],
  ["vhd", "vpc"],
  ["vhdx", "vhdx"],
] as const)("%s holds the raw image, as the foundry's qemu-img reads it", async (target, format) => {
  const files = { made: artifact(target), raw: artifact("raw") };
  const compared = await foundry(["qemu-img", "compare", "-f", format, "-F", "raw", "/in/made", "/in/raw"], files);
  expect(compared).toContain("Images are identical.");
  expect(compared).not.toContain("size mismatch");
  if (format === "vpc") return; // qemu-img has no check for it
  expect(await foundry(["qemu-img", "check", "-f", format, "/in/made"], files)).toContain("No errors were found");
});

test("vhdx: a disk of more than 4 GiB, where the block table has its first gap", async () => {
  const [raw, made] = [join(scratch.directory, "large.raw"), join(scratch.directory, "large.vhdx")];
  const sectorsPerGibibyte = 2 ** 21;
  await writeImage(raw, 4 * sectorsPerGibibyte + 8192, [
    { first: 4 * sectorsPerGibibyte - 2048, sectors: 6000, seed: 1 },
    { first: 4 * sectorsPerGibibyte + 8191, sectors: 1, seed: 2 },
  ]);
  await writeVhdx(raw, made, scratch.context.signal);
  const files = { made, raw };
  expect(await foundry(["qemu-img", "compare", "-f", "vhdx", "-F", "raw", "/in/made", "/in/raw"], files)).toContain(
    "Images are identical.",
  );
});

describe("ova", () => {
  test("the disk inside is the raw image; the descriptor is well-formed and describes the machine", async () => {
    const out = join(scratch.directory, "ova");
    await mkdir(out);
    await run("tar", ["--extract", `--directory=${out}`, `--file=${artifact("ova")}`]);
    const files = { made: join(out, "kubedos-disk1.vmdk"), ovf: join(out, "kubedos.ovf"), raw: artifact("raw") };
    expect(await foundry(["qemu-img", "compare", "-f", "vmdk", "-F", "raw", "/in/made", "/in/raw"], files)).toContain(
      "Images are identical.",
    );
    const read = `
import xml.etree.ElementTree as tree
root = tree.parse("/in/ovf").getroot()
rasd = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
vmw = "{http://www.vmware.com/schema/ovf}"
print(*[kind.text for kind in root.iter(rasd + "ResourceSubType")])
print(*[f"{config.get(vmw + 'key')}={config.get(vmw + 'value')}" for config in root.iter(vmw + "Config")])
`;
    expect((await foundry(["python3", "-c", read], files)).trim().split("\n")).toEqual([
      "VirtualSCSI VmxNet3 vmware.vtpm",
      "firmware=efi bootOptions.efiSecureBootEnabled=true",
    ]);
  });
});

test("ami: EC2's variables hold the foundry's keys with Secure Boot on, as virt-firmware reads them", async () => {
  const plan = JSON.parse(await readFile(artifact("ami"), "utf8")) as AmiPlan;
  const vars = join(scratch.directory, "ec2.vars");
  await writeFile(vars, plan.register.uefiData);
  const printed = await foundry(["virt-fw-vars", "--input", "/in/vars", "--print", "--verbose"], { vars });
  for (const name of ["PK", "KEK", "db", "SecureBootEnable"]) expect(printed).toMatch(new RegExp(`${name}\\b`));
  expect(printed).toMatch(/SecureBootEnable .*\n *bool: ON/);
});

test("gce: gzip and GNU tar unpack the raw image, filled up to a whole GiB", async () => {
  const out = join(scratch.directory, "gce");
  await mkdir(out);
  await run("tar", ["--extract", "--gzip", `--directory=${out}`, `--file=${artifact("gce")}`]);
  const listing = await run("stat", ["--format=%s", join(out, "disk.raw"), artifact("raw")]);
  const [disk, raw] = listing.stdout.trim().split("\n").map(Number);
  expect(disk).toBe(2 ** 30);
  await run("cmp", [`--bytes=${raw}`, artifact("raw"), join(out, "disk.raw")]);
});

describe("firecracker", () => {
  test("two nodes start from the archive by its own script, in QEMU's microvm machine, and their planes talk", async () => {
    // 1. As its user unpacks it, with the nodes' seeds.
    const { spec } = lab.project.paths;
    await run("tar", ["--extract", `--directory=${scratch.directory}`, `--file=${artifact("firecracker")}`]);
    const folder = join(scratch.directory, "lab.firecracker");
    const seeds = join(scratch.directory, "seeds");
    expect((await kubedos(["seed", spec, "--all", "--out", seeds], { env: scratch.env })).status).toBe(0);
    const ports = { port: 20_000 + (process.pid % 20_000) };
    const node = async (name: string, use: (machine: MicroVm) => Promise<void>) => {
      const config = JSON.parse(await readFile(join(folder, `machines/${name}.json`), "utf8")) as MachineConfig;
      const args = ["--image", artifact("raw"), "--state", join(scratch.directory, "machines", name)];
      const files = { script: join(folder, "run"), seed: join(seeds, `${name}.seed`), args };
      await withMicroVm(scratch, { ...files, ...ports, node: name, config }, use);
    };
    // 2. Both at a time; the second one looks for the first on every plane.
    await node("hub", (hub) =>
      node("worker-1", async (worker) => {
        await Promise.all([hub.reaches("fabric"), worker.reaches("fabric")]);
        const probe = (await worker.ask({ command: "fabric", count: 2 })) as FabricProbe;
        expect(probe.pairs.map(({ plane, peer, received }) => [plane, peer, received > 0])).toEqual([
          ["wg1", "hub", true],
          ["wg2", "hub", true],
          ["wg3", "hub", true],
        ]);
        // The planes do not wait for the state partition, which is made at this first boot.
        const facts = await until("the state partition", 120, async () => {
          const now = (await worker.ask({ command: "facts" })) as NodeFacts;
          return now.state === undefined ? undefined : now;
        });
        expect(facts).toMatchObject({ rootHash: built.rootHash, state: "plain", sealed: true });
      }),
    );
  });
});

describe("packer", () => {
  const folder = () => join(scratch.directory, "lab.packer");
  const packer = (args: readonly string[]) =>
    run("env", ["CHECKPOINT_DISABLE=1", `PACKER_CACHE_DIR=${scratch.directory}/packer-cache`, "packer", ...args], {
      timeoutMs: 300_000,
      okStatuses: [0, 1],
    });
  beforeAll(async () => {
    await run("tar", ["--extract", `--directory=${scratch.directory}`, `--file=${artifact("packer")}`]);
  });

  test("the template is valid, and formatted as Packer itself would", async () => {
    expect(await packer(["fmt", "-check", "-diff", folder()])).toMatchObject({ stdout: "", status: 0 });
    expect(await packer(["validate", `-var=image=${artifact("qcow2")}`, folder()])).toMatchObject({ status: 0 });
  });

  test("`packer build` boots the sealed image without a seed, and gives it out enlarged and otherwise the same", async () => {
    const { lock, store } = lab.project;
    const output = join(scratch.directory, "packer-output");
    const variables = {
      image: artifact("qcow2"),
      output_directory: output,
      accelerator: await chooseAccelerator(scratch.context),
      firmware: join(locateFoundry(lock, store).directory, "usr/share/ovmf/OVMF.fd"),
      disk_size: "3G",
    };
    const flags = Object.entries(variables).map(([name, value]) => `-var=${name}=${value}`);
    const { status, stdout } = await packer(["build", "-color=false", ...flags, folder()]);
    expect(status, stdout).toBe(0);
    expect(await readFile(join(folder(), "console.log"), "utf8")).toContain("boot stopped: no seed disk found");
    const made = join(output, "lab.qcow2");
    const sum = await readFile(join(output, "lab.sha256"), "utf8");
    expect(sum).toContain(await sha256(made));
    const compared = await foundry(["qemu-img", "compare", "/in/made", "/in/raw"], { made, raw: artifact("raw") });
    expect(compared).toContain("Images are identical.");
    expect(
      (await foundry(["qemu-img", "info", "--output=json", "/in/made"], { made })).replaceAll(/\s/g, ""),
    ).toContain(`"virtual-size":${3 * 2 ** 30}`);
  });

  test("another image than the template's is refused", async () => {
    const output = join(scratch.directory, "packer-other");
    const flags = [`-var=image=${artifact("raw")}`, `-var=output_directory=${output}`, "-var=accelerator=tcg"];
    const { status, stdout } = await packer(["build", "-color=false", ...flags, folder()]);
    expect(status).toBe(1);
    expect(stdout).toMatch(/[Cc]hecksums? did not match|checksum/);
  });
});

test("made again, every format has the same bytes", async () => {
  const graph = buildGraph(lab.project.build, lab.project.store);
  const plan = JSON.parse(await readFile(artifact("ami"), "utf8")) as AmiPlan;
  const uefi = join(scratch.directory, "uefi");
  await writeFile(uefi, plan.register.uefiData);
  const files = { raw: artifact("raw"), vmdk: artifact("vmdk"), qcow2: artifact("qcow2"), uki: lab.uki.unsigned, uefi };
  for (const { name, stage } of graph.targets) {
    if (name === "raw" || name === "metal") continue; // their inputs are parts
    const out = join(scratch.directory, "again", name);
    await mkdir(out, { recursive: true });
    await stage.run({
      inputs: Object.fromEntries(Object.keys(stage.inputs).map((input) => [input, files[input as keyof typeof files]])),
      meta: {},
      out,
      progress: () => undefined,
      signal: scratch.context.signal,
    });
    expect(await sha256(join(out, "image")), name).toBe(await sha256(artifact(name)));
  }
});

test("`verify` finds the same disk in every format, and checks each as deeply where it is alone", async () => {
  const key = join(lab.project.paths.out, "foundry.pub");
  const options = { key, anyKey: false, withoutAuthenticode: true, signal: scratch.context.signal };
  const { checks } = await verifyOutput({ ...options, path: lab.project.paths.out });
  expect(checks.filter(({ status }) => status !== "ok" && status !== "skipped")).toEqual([]);
  expect(checks.filter(({ check }) => check === "disk")).toHaveLength(formats.length - 6);
  expect(checks.filter(({ check }) => check === "plan")).toHaveLength(1);
  for (const target of ["metal", "ova", "vhd", "gce"] as const) {
    const alone = await verifyOutput({ ...options, path: artifact(target) });
    expect(
      alone.checks.find(({ check }) => check === "root"),
      target,
    ).toMatchObject({ status: "ok" });
  }
});

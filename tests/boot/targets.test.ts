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
import { buildLab, labSpec, makeScratch, type BuiltLab, type Scratch } from "./support.ts";

// The manufactured image in every format: read back by the foundry's qemu-img, and made twice.
const formats = targetNames.filter((name) => name !== "iso" && name !== "netboot"); // see installation.test.ts
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

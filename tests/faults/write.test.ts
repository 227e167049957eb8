import { randomFillSync } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openSeed } from "../../src/fabric/seed.ts";
import { clusterId } from "../../src/fabric/keys.ts";
import { run } from "../../src/host/run.ts";
import { openVault } from "../../src/vault/vault.ts";
import { signifyPublicKey } from "../../src/vault/signify.ts";
import { writeRawImage } from "../../src/targets/raw.ts";
import { kubedos, type Outcome } from "../cli/kubedos.ts";

// Real block devices (loop), the real command. A loop device counts as a portable disk.
const mebibyte = 1024 * 1024;
let directory: string;
let artifact: string;
const loops: string[] = [];
const env: Record<string, string> = {};
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kd-write-"));
  env["KUBEDOS_CONFIG"] = join(directory, "config");
  artifact = join(directory, "lab.raw");
  const part = async (name: string, sizeBytes: number) => {
    await writeFile(join(directory, name), randomFillSync(Buffer.alloc(sizeBytes)));
    return join(directory, name);
  };
  const parts = {
    esp: await part("esp", 3 * mebibyte + 5),
    root: await part("root", 9 * mebibyte),
    verity: await part("verity", 4096),
  };
  await writeRawImage(artifact, parts, "0123456789abcdef".repeat(4), new AbortController().signal);
});
afterAll(async () => {
  for (const loop of loops) await run("losetup", ["--detach", loop], { okStatuses: [0, 1] });
  await rm(directory, { recursive: true, force: true });
});

/** A disk of its own: a loop device over a file of zeros. */
async function disk(name: string, sizeMiB = 40): Promise<{ device: string; file: string }> {
  const file = join(directory, `${name}.disk`);
  await writeFile(file, "");
  await truncate(file, sizeMiB * mebibyte);
  const device = (await run("losetup", ["--find", "--show", file])).stdout.trim();
  loops.push(device);
  return { device, file };
}

function write(...args: string[]): Promise<Outcome> {
  return kubedos(["write", ...args], { env });
}

test("what was written is there, to the last byte, and nothing is left of what was at the disk's end", async () => {
  const { device, file } = await disk("good");
  await run("sfdisk", [device], { input: "label: gpt\n,10M\n" });
  const outcome = await write(artifact, device, "--yes", "--wipe");
  expect(outcome.status, outcome.stderr).toBe(0);
  expect(outcome.stdout).toMatch(/written and read back: \/dev\/loop\d+/);
  const [disk1, raw] = [await readFile(file), await readFile(artifact)];
  expect(disk1.subarray(0, raw.length).equals(raw)).toBe(true);
  expect(disk1.subarray(-mebibyte).every((byte) => byte === 0)).toBe(true);
});

describe("nothing is written", () => {
  /** Tries to write to a disk, sees that it has not changed, and returns what was said. */
  async function refused(name: string, args: string[], prepare?: (device: string) => Promise<unknown>) {
    const { device, file } = await disk(name);
    await prepare?.(device);
    await run("blockdev", ["--flushbufs", device]);
    const before = await readFile(file);
    const outcome = await write(artifact, device, ...args);
    expect([1, 2]).toContain(outcome.status);
    expect((await readFile(file)).equals(before)).toBe(true);
    return outcome.stderr;
  }
  const whatever = ["--yes", "--wipe", "--fixed"];

  test("without --yes: the disk is shown, with its size", async () => {
    expect(await refused("no-yes", [])).toMatch(/without --yes(.|\n)*\/dev\/loop.*0\.0 GB/);
  });
  test("to a disk with data, without --wipe", async () => {
    const said = await refused("data", ["--yes"], (device) => run("mke2fs", ["-q", "-t", "ext4", device]));
    expect(said).toMatch(/holds data \(ext4\)(.|\n)*--wipe/);
  });
  test("to a mounted disk, whatever is said", async () => {
    const place = join(directory, "mounted");
    await mkdir(place);
    try {
      const said = await refused("mounted", whatever, async (device) => {
        await run("mke2fs", ["-q", "-t", "ext4", device]);
        await run("mount", ["-o", "ro", device, place]);
      });
      expect(said).toMatch(/is mounted on/);
    } finally {
      await run("umount", [place], { okStatuses: [0, 32] });
    }
  });
  test("to a part of a volume group, whatever is said", async () => {
    const said = await refused("lvm", whatever, async (device) => {
      // The label that LVM puts into one of the first four sectors, as far as blkid asks for it.
      const label = Buffer.alloc(1024);
      label.write("LABELONE", 512, "latin1");
      label.writeBigUInt64LE(1n, 520);
      label.writeUInt32LE(32, 532);
      label.write("LVM2 001", 536, "latin1");
      label.write("0123456789abcdef0123456789abcdef", 544, "latin1");
      label.writeUInt32LE(lvmChecksum(label.subarray(532, 1024)), 528);
      await run("dd", [`of=${device}`, "bs=1024", "conv=notrunc,fsync"], { input: label });
    });
    expect(said).toMatch(/part of an LVM volume group/);
  });

  test("to a disk that is too small", async () => {
    const { device } = await disk("small", 8);
    const outcome = await write(artifact, device, "--yes");
    expect(outcome.stderr).toMatch(/the artifact needs/);
    expect(outcome.status).toBe(1);
  });
  test("to a file, to nothing, and of what is no medium", async () => {
    const { device } = await disk("kinds");
    expect((await write(artifact, join(directory, "esp"), "--yes")).status).not.toBe(0);
    expect((await write(artifact, "/dev/there-is-none", "--yes")).stderr).toMatch(/lsblk/);
    const foreign = await write(join(directory, "esp"), device, "--yes");
    expect(foreign.stderr).toMatch(/is no disk image/);
    expect(foreign.status).toBe(2);
  });
  test("when the artifact is not what the manifest beside it says", async () => {
    const { device, file } = await disk("manifest");
    const beside = join(directory, "out");
    await mkdir(beside);
    await run("cp", [artifact, join(beside, "lab.raw")]);
    await writeFile(join(beside, "manifest.json"), JSON.stringify({ format: 1 }));
    const outcome = await write(join(beside, "lab.raw"), device, "--yes");
    expect(outcome.stderr).toMatch(/is not a whole manifest/);
    expect((await readFile(file)).every((byte) => byte === 0)).toBe(true);
  });
});

test("a disk that does not take the end: an error, and it looks empty", async () => {
  // The file below the loop device lies in a file system that is full before: writes fail, as those to bad blocks do.
  const full = join(directory, "full");
  await mkdir(full);
  await run("mount", ["-t", "tmpfs", "-o", "size=8M", "tmpfs", full]);
  try {
    const { device, file } = await disk("full/bad-block");
    const outcome = await write(artifact, device, "--yes");
    expect(outcome.status).toBe(1);
    expect(outcome.stderr).toMatch(/cannot be written|does not give back/);
    expect((await readFile(file)).subarray(0, mebibyte).every((byte) => byte === 0)).toBe(true);
    await run("losetup", ["--detach", device]);
  } finally {
    await run("umount", ["--lazy", full]);
  }
});

test("--seed: the node's own seed is on the disk, signed, and the rest is the artifact", async () => {
  const specFile = join(directory, "lab.yaml");
  const init = await kubedos(["init", "lab"], { env, cwd: directory });
  expect(init.status, init.stderr).toBe(0);
  const { device, file } = await disk("seed");
  const outcome = await write(artifact, device, "--yes", "--seed", "worker-1", "--spec", specFile);
  expect(outcome.status, outcome.stderr).toBe(0);
  const [written, raw] = [await readFile(file), await readFile(artifact)];
  const at = written.indexOf("KUBEDOS-SEED 1 ", 0, "latin1");
  expect(at % mebibyte).toBe(0);
  const identities = [join(env["KUBEDOS_CONFIG"]!, "identity.txt")];
  const vault = await openVault(join(directory, "lab.vault"), { identities });
  const key = signifyPublicKey(vault.signing.publicKey);
  const seed = openSeed(written.subarray(at, at + 2 * mebibyte), key, clusterId(vault, "lab"));
  expect(seed.node).toBe("worker-1");
  written.fill(0, at, at + 2 * mebibyte);
  expect(written.subarray(0, raw.length).equals(raw)).toBe(true);
  const unknown = await write(artifact, device, "--yes", "--wipe", "--seed", "worker-9", "--spec", specFile);
  expect(unknown.stderr).toMatch(/no node "worker-9"/);
});

/** LVM2's CRC: polynomial of CRC-32, start value 0xf597a6cf, no final inversion. */
function lvmChecksum(bytes: Uint8Array): number {
  let crc = 0xf597a6cf;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return crc >>> 0;
}

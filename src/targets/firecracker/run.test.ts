import { createHash } from "node:crypto";
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { run } from "../../host/run.ts";

// The start script with a fake of Firecracker that notes down how it was started.
let directory: string;
let folder: string;
const image = Buffer.alloc(64 * 1024, "image");
const seed = Buffer.concat([Buffer.from("KUBEDOS-SEED 1 100\n"), Buffer.alloc(4096)]);
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-firecracker-"));
  folder = join(directory, "lab.firecracker");
  await mkdir(join(folder, "machines"), { recursive: true });
  await copyFile(join(import.meta.dirname, "run.sh"), join(folder, "run"));
  await chmod(join(folder, "run"), 0o755);
  const sum = createHash("sha256").update(image).digest("hex");
  for (const [name, content] of [
    ["lab.firecracker/nodes", "hub 2 kdfc1\nworker-1 3 kdfc2\n"],
    ["lab.firecracker/image", `${sum} lab.raw\n`],
    ["lab.firecracker/vmlinux", "kernel"],
    ["lab.firecracker/initrd", "initrd"],
    ["lab.firecracker/machines/hub.json", '{"hub":true}\n'],
    ["lab.firecracker/machines/worker-1.json", '{"worker":true}\n'],
    ["lab.raw", image],
    ["hub.seed", seed],
    ["firecracker", `#!/bin/sh\nprintf '%s\\n' "$PWD" "$@" > '${directory}/started'\n`],
    ["jailer", `#!/bin/sh\nprintf '%s\\n' "$@" > '${directory}/jailed'\n`],
  ] as const) {
    await writeFile(join(directory, name), content);
  }
  for (const program of ["firecracker", "jailer"]) await chmod(join(directory, program), 0o755);
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function start(...args: string[]) {
  const programs = [`FIRECRACKER=${directory}/firecracker`, `JAILER=${directory}/jailer`];
  return run("env", [...programs, join(folder, "run"), ...args], { okStatuses: [0, 1, 2] });
}

const lines = async (name: string) => (await readFile(join(directory, name), "utf8")).trim().split("\n");
const hubSeed = () => join(directory, "hub.seed");

test("the first start copies the image, enlarged; the machine's files lie where its configuration says", async () => {
  expect(await start("hub", hubSeed())).toMatchObject({ status: 0, stderr: "" });
  const machine = join(folder, "hub.machine");
  expect(await lines("started")).toEqual([machine, "--no-api", "--config-file", "machine.json"]);
  await run("cmp", [`--bytes=${image.length}`, join(machine, "disk.raw"), join(directory, "lab.raw")]);
  expect((await stat(join(machine, "disk.raw"))).size).toBe(2 * 2 ** 30);
  expect(await readFile(join(machine, "machine.json"), "utf8")).toBe('{"hub":true}\n');
  for (const name of ["disk.raw", "seed.img"]) expect((await stat(join(machine, name))).mode & 0o077).toBe(0);
});

test("a later start keeps the node's disk, and needs no image any more", async () => {
  await start("hub", hubSeed(), "--state", join(directory, "state"));
  await writeFile(join(directory, "state/disk.raw"), "what the node has written");
  await rm(join(directory, "lab.raw"));
  expect(await start("hub", hubSeed(), "--state", join(directory, "state"))).toMatchObject({ status: 0 });
  expect(await readFile(join(directory, "state/disk.raw"), "utf8")).toBe("what the node has written");
});

test("in the jailer: its order of files, its user, and none of what it left behind", async () => {
  const [uid, gid] = [process.getuid!(), process.getgid!()];
  const root = join(directory, "jail/firecracker/hub/root");
  await mkdir(join(root, "dev"), { recursive: true });
  await writeFile(join(root, "firecracker"), "of the last start");
  const given = ["--state", join(directory, "jail"), "--jail", `${uid}:${gid}`, "--netns", "/run/netns/lab"];
  expect(await start("hub", hubSeed(), ...given)).toMatchObject({ status: 0, stderr: "" });
  expect((await lines("jailed")).join(" ")).toBe(
    `--id hub --exec-file ${directory}/firecracker --uid ${uid} --gid ${gid} --chroot-base-dir ${directory}/jail ` +
      "--netns /run/netns/lab -- --no-api --config-file machine.json",
  );
  await expect(stat(join(root, "dev"))).rejects.toThrow("ENOENT");
  await expect(stat(join(root, "firecracker"))).rejects.toThrow("ENOENT");
  for (const name of ["vmlinux", "initrd", "machine.json", "disk.raw"])
    expect(await stat(join(root, name))).toBeDefined();
  expect((await stat(join(root, "seed.img"))).mode & 0o777).toBe(0o400);
});

describe("nothing is started", () => {
  test.each<[string, () => Promise<string[]>, RegExp]>([
    [
      "for a node of another cluster",
      async () => ["core-9", hubSeed()],
      /there is no node core-9[^]*its nodes: hub worker-1/,
    ],
    [
      "with another image",
      async () => {
        await writeFile(join(directory, "lab.raw"), Buffer.alloc(image.length, "other"));
        return ["hub", hubSeed()];
      },
      /is not the image that belongs to this directory/,
    ],
    ["without an image", async () => ["hub", hubSeed(), "--image", "/nowhere"], /the image \/nowhere cannot be read/],
    ["without its seed", async () => ["hub", "/nowhere"], /the seed \/nowhere cannot be read[^]*kubedos seed/],
    ["with a file that is no seed", async () => ["hub", join(directory, "lab.raw")], /is no seed/],
    ["for a user that is none", async () => ["hub", hubSeed(), "--jail", "nobody"], /--jail nobody is no UID:GID/],
    ["in a namespace without a jailer", async () => ["hub", hubSeed(), "--netns", "/x"], /--netns is for --jail/],
  ])("%s", async (_what, args, message) => {
    const { status, stderr } = await start(...(await args()));
    expect(status).toBe(1);
    expect(stderr).toMatch(message);
    await expect(lines("started")).rejects.toThrow("ENOENT");
    await expect(stat(join(folder, "hub.machine/disk.raw"))).rejects.toThrow("ENOENT");
  });

  test("with words that it does not know: how to write it", async () => {
    for (const args of [[], ["hub"], ["hub", hubSeed(), "--fast"], ["hub", hubSeed(), "--image"]]) {
      const { status, stderr } = await start(...args);
      expect(status).toBe(2);
      expect(stderr).toMatch(/^usage: run NODE SEED/);
    }
  });
});

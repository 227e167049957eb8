import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { clusterId } from "../../src/fabric/keys.ts";
import { buildSeed } from "../../src/fabric/seed.ts";
import { run } from "../../src/host/run.ts";
import type { Spec } from "../../src/spec/types.ts";
import { signifyPublicKey } from "../../src/vault/signify.ts";
import { fixedVault } from "../../src/vault/testing.ts";
import { fakeSpec } from "../fakes/spec.ts";

// What the sealed image's initrd does with a seed disk, run here by the initrd's shell with a /run of its own. That a
// machine stops there, and tells the operator's side, is for tests/boot/seeds.test.ts.
const initrdSeed = join(import.meta.dirname, "../../node/initrd/seed");
const headerBytes = 4096;
const vault = fixedVault();
const spec = fakeSpec();
const generations = (change: (generation: number) => number) => ({
  nodes: spec.nodes.map((node) => ({ ...node, generation: change(node.generation) })),
});

let scratch: string;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), "kd-seed-"));
});
afterEach(() => rm(scratch, { recursive: true, force: true }));

function seedOf(node: string, change: Partial<Spec> = {}): Buffer {
  return Buffer.from(buildSeed({ ...spec, ...change }, vault, node).disk);
}

/** A good seed with its header line (`KUBEDOS-SEED 1 SIZE`) rewritten; the signature follows it. */
function withHeader(rewrite: (size: number) => string): Buffer {
  const disk = seedOf("core-1");
  const header = disk.toString("latin1", 0, headerBytes).replace(/\0+$/, "");
  const [first = "", ...signature] = header.split("\n");
  disk.fill(0, 0, headerBytes);
  disk.write([rewrite(Number(first.split(" ")[2])), ...signature].join("\n"), 0, "latin1");
  return disk;
}

function changed(at: (disk: Buffer) => number): Buffer {
  const disk = seedOf("core-1");
  disk[at(disk)]! ^= 0x01;
  return disk;
}

/** What is said of the disk; where it is taken, the node's name and its credentials. */
async function opened(disk: Uint8Array): Promise<string> {
  const at = (name: string) => join(scratch, name);
  await writeFile(at("seed.img"), disk);
  await writeFile(at("foundry.pub"), signifyPublicKey(vault.signing.publicKey));
  await writeFile(at("cluster-id"), `${clusterId(vault, spec.metadata.name)}\n`);
  await writeFile(at("nodes"), spec.nodes.map(({ name, generation }) => `${name} ${generation}\n`).join(""));
  const script = [
    "mount -t tmpfs -o mode=755 run /run",
    "mkdir -p /run/kubedos/layer",
    `cp ${["foundry.pub", "cluster-id", "nodes"].map(at).join(" ")} /run/kubedos/layer`,
    `. ${initrdSeed}`,
    'fail() { echo "boot stopped: $*"; exit 1; }',
    "seed_wait=0",
    // Disks: an empty one, and the seed.
    "mount -t tmpfs -o mode=755 dev /dev",
    "mount -t tmpfs -o mode=755 block /sys/class/block",
    "mkdir /sys/class/block/loop0 /sys/class/block/vda /sys/class/block/vdb",
    `touch /sys/class/block/vda/uevent /dev/vda; cp ${at("seed.img")} /dev/vdb; cp ${at("seed.img")} /dev/loop0`,
    "open_seed",
    "cat /run/kubedos/node",
    "ls -1 /run/credentials/@initrd",
  ];
  await writeFile(at("script"), script.join("\n"));
  const alone = ["--map-root-user", "--mount", "busybox", "sh", at("script")];
  const { stdout } = await run("unshare", alone, { okStatuses: [0, 1] });
  return stdout;
}

test("its own: the node is known, its credentials are there", async () => {
  const said = await opened(seedOf("core-1"));
  expect(said).toMatch(/^core-1\n/);
  expect(said.split("\n")).toEqual(
    expect.arrayContaining(["kubedos.node", "system.hostname", "network.wireguard.private.wg1"]),
  );
});

const none = "no seed disk found (a small disk that starts with KUBEDOS-SEED)";
const altered = "the seed on /dev/vdb is altered or was not made by this foundry";
test.each<[string, () => Buffer, string]>([
  ["that is another disk", () => Buffer.alloc(64 * 1024, "SOMETHING ELSE"), none],
  ["of a format version that is not known", () => withHeader((size) => `KUBEDOS-SEED 12 ${size}`), none],
  ["one bit changed in its payload", () => changed(() => headerBytes + 700), altered],
  [
    "one bit changed in its signature",
    () => changed((disk) => disk.indexOf("\n", disk.indexOf("\nuntrusted comment") + 1) + 40),
    altered,
  ],
  ["its header names a smaller size", () => withHeader((size) => `KUBEDOS-SEED 1 ${size - 512}`), altered],
  [
    "its header names a huge size",
    () => withHeader(() => "KUBEDOS-SEED 1 99999999999999999999"),
    "the seed on /dev/vdb is larger than 1 MiB",
  ],
  [
    "its header names no size",
    () => withHeader(() => "KUBEDOS-SEED 1 $(reboot)"),
    "the seed on /dev/vdb has a damaged header",
  ],
  [
    "of another cluster of the same foundry",
    () => seedOf("core-1", { metadata: { ...spec.metadata, name: "elsewhere" } }),
    "the seed on /dev/vdb belongs to another cluster",
  ],
  [
    "of another key generation",
    () =>
      seedOf(
        "core-1",
        generations((one) => one + 1),
      ),
    "the seed of core-1 has key generation 2, which this cluster no longer accepts",
  ],
  [
    "of a node that is not in the cluster",
    () => {
      const nodes = spec.nodes.map((node) => (node.name === "core-1" ? { ...node, name: "core-9" } : node));
      return seedOf("core-9", { nodes });
    },
    "the seed on /dev/vdb is for core-9, which is not in this cluster",
  ],
])("%s: the boot stops", async (_what, disk, reason) => {
  expect((await opened(disk())).trimEnd()).toBe(`boot stopped: ${reason}`);
});

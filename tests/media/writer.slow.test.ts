import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, open, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createServer, type AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { clusterId } from "../../src/fabric/keys.ts";
import { buildSeed } from "../../src/fabric/seed.ts";
import { writeUstar } from "../../src/fabric/ustar.ts";
import { endDaemon, startDaemon } from "../../src/host/daemon.ts";
import { serveFiles } from "../../src/host/file-server.ts";
import { run } from "../../src/host/run.ts";
import type { Spec } from "../../src/spec/types.ts";
import { ageSeal } from "../../src/vault/age.ts";
import { signifyPublicKey } from "../../src/vault/signify.ts";
import { fixedVault } from "../../src/vault/testing.ts";
import { fakeSpec } from "../fakes/spec.ts";

// Parts of node/writer/ run here by the shell that the medium has, with files as disks and a directory as /sys. What the
// kernel and the firmware do is for tests/boot/installation.test.ts.
const mib = 1024 * 1024;
const parts = join(import.meta.dirname, "../../node/writer");
let scratch: string;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), "kd-writer-"));
  for (const name of ["sys/block", "dev", "run", "here"]) await mkdir(join(scratch, name), { recursive: true });
});
afterEach(() => rm(scratch, { recursive: true, force: true }));

interface Disk {
  mib?: number;
  removable?: boolean;
  serial?: string;
  /** Bytes at offsets; negative: from the end. */
  holds?: Record<number, string>;
}

async function disk(name: string, { mib: size = 8, removable = false, serial, holds = {} }: Disk = {}): Promise<void> {
  const about = { size: String((size * mib) / 512), ro: "0", removable: removable ? "1" : "0", serial: serial ?? name };
  for (const [file, text] of Object.entries(about)) {
    const path = join(scratch, "sys/block", name, file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, `${text}\n`);
  }
  const device = join(scratch, "dev", name);
  await writeFile(device, "");
  await truncate(device, size * mib);
  const handle = await open(device, "r+");
  for (const [at, text] of Object.entries(holds))
    await handle.write(text, Number(at) + (Number(at) < 0 ? size * mib : 0));
  await handle.close();
}

const image = Buffer.concat([Buffer.from("first".padEnd(mib, "x")), Buffer.alloc(3 * mib, "rest")]);
const sha256 = createHash("sha256").update(image).digest("hex");

/** What the writer says, and whether it went on to the end. `typed`: lines that someone types on its only console. */
async function writer(
  words: string,
  policy: Record<string, string> = {},
  more: string[] = [],
  typed?: readonly string[],
): Promise<{ said: string; ended: boolean }> {
  const settings = { want_serial: "", want_path: "", min_gib: "", max_gib: "", wipe: "no", ...policy };
  const script = [
    "set -o pipefail",
    'say() { echo "$*"; }',
    "show() { :; }",
    "forget_cached() { :; }",
    'fail() { echo "installation stopped: $*"; exit 1; }',
    `sys='${scratch}/sys' dev='${scratch}/dev' run='${scratch}/run' here='${scratch}/here' consoles='' mib=${mib}`,
    `size=${image.length} sha256=${sha256} seed_at=${2 * mib} whence='the medium' instead='(removed?)'`,
    "want_server=''",
    ...Object.entries(settings).map(([key, value]) => `${key}='${value}'`),
    ...["disk", "seeds", "write", ...more].map((part) => `. '${parts}/${part}'`),
    words,
  ];
  const file = join(scratch, "script");
  await writeFile(file, script.join("\n"));
  await chmod(file, 0o755);
  const { stdout, status } =
    typed === undefined
      ? await run("busybox", ["sh", file], { okStatuses: [0, 1] })
      : await run("script", ["-qec", `busybox sh ${file}`, "/dev/null"], {
          input: typed.map((line) => `${line}\n`).join(""),
          okStatuses: [0, 1],
        });
  return { said: stdout.replaceAll(`${scratch}/dev/`, "/dev/"), ended: status === 0 };
}

const choose = (policy?: Record<string, string>) => writer('choose_disk; echo "chosen $target"', policy);

test("one blank disk fits; a medium, a seed, a stick, an optical drive and one that is too small do not", async () => {
  await disk("vda", { mib: 2 });
  await disk("vdb");
  await disk("vdc", { holds: { 0: "KUBEDOS-SEED 1 4096\n" } });
  await disk("sda", { removable: true });
  await disk("sr0");
  await disk("sdb");
  const { said } = await writer('medium_disk=sdb; choose_disk; echo "chosen $target"');
  expect(said).toContain("chosen /dev/vdb\n");
  expect(said).toContain("disk /dev/vda, 2 MiB, serial vda: is too small: the image needs 4 MiB\n");
  expect(said).toContain("disk /dev/vdc, 8 MiB, serial vdc: is a seed\n");
  expect(said).toContain("disk /dev/sda, 8 MiB, serial sda: is removable\n");
  expect(said).toContain("disk /dev/sdb, 8 MiB, serial sdb: is the medium\n");
  expect(said).not.toContain("sr0");
});

test("no disk at all: stopped", async () => {
  expect(await choose()).toEqual({ said: expect.stringContaining("installation stopped: no disk fits"), ended: false });
});

test("two that fit: stopped, both named", async () => {
  await disk("vda");
  await disk("vdb");
  expect((await choose()).said).toContain("installation stopped: more than one disk fits: vda vdb;");
});

test.each([
  ["at its start", 0],
  ["behind its start", 700_000],
  ["at its end", -512],
])("data %s: not taken, and not changed; taken with a rule and leave to wipe", async (_where, at) => {
  await disk("vda", { holds: { [at]: "EFI PART" } });
  const before = await readFile(join(scratch, "dev/vda"));
  const { said } = await choose();
  expect(said).toContain("holds data, and the spec does not say that it may be wiped");
  expect(said).toContain("no disk fits");
  expect((await readFile(join(scratch, "dev/vda"))).equals(before)).toBe(true);
  expect((await choose({ wipe: "yes", want_serial: "vda" })).said).toContain("chosen /dev/vda");
});

test("all rules must hold; a removable disk is taken only by its name", async () => {
  await disk("vda", { mib: 1024 });
  await disk("vdb", { mib: 2048, serial: "S1" });
  await disk("sda", { mib: 4096, removable: true, serial: "S2" });
  expect((await choose({ min_gib: "2" })).said).toContain("chosen /dev/vdb");
  expect((await choose({ max_gib: "1" })).said).toContain("chosen /dev/vda");
  expect((await choose({ want_serial: "S2" })).said).toContain("chosen /dev/sda");
  expect((await choose({ want_path: "/dev/vdb" })).said).toContain("chosen /dev/vdb");
  expect((await choose({ want_path: "/dev/vdb", want_serial: "S2" })).said).toContain("no disk fits");
});

const writes = (source: string, more = "") =>
  writer(`target=$dev/vda; chosen=''; ${more}\nstream() { ${source}; }; write_image; echo complete`);
const head = async () => (await readFile(join(scratch, "dev/vda"))).subarray(0, mib);
const blank = Buffer.alloc(mib);

test("what is written is the image, and nothing but the image", async () => {
  await disk("vda");
  await writeFile(join(scratch, "image"), image);
  const { said } = await writes(`zstd -qc '${scratch}/image'`);
  expect(said).toContain("verified: sha256 of what the disk gives back is as manufactured\ncomplete");
  const after = await readFile(join(scratch, "dev/vda"));
  expect(after.subarray(0, image.length).equals(image)).toBe(true);
  expect(after.subarray(image.length).every((byte) => byte === 0)).toBe(true);
});

test.each([
  ["nothing comes", "false", "the medium cannot be read to its end"],
  ["it ends in the midst", "zstd -qc '$IMAGE' | head -c 80", "the medium cannot be read to its end"],
  ["another image comes", "zstd -qc '$OTHER'", "does not give back what was written"],
])("%s: stopped, and the disk is not one that starts", async (_what, source, message) => {
  await disk("vda", { holds: { 0: "EFI PART" } });
  const other = Buffer.from(image);
  other[3 * mib] = 0;
  await writeFile(join(scratch, "image"), image);
  await writeFile(join(scratch, "other"), other);
  const { said, ended } = await writes(
    source.replace("$IMAGE", `${scratch}/image`).replace("$OTHER", `${scratch}/other`),
  );
  expect(said).toContain(`installation stopped: ${message}`.replace(": does", ": /dev/vda does"));
  expect(ended).toBe(false);
  expect((await head()).equals(blank)).toBe(true);
});

test("a disk that takes no more bytes: stopped with the reason", async () => {
  await writeFile(join(scratch, "image"), image);
  const { said } = await writer(
    `target=/dev/full; chosen=''; stream() { zstd -qc '${scratch}/image'; }; write_image; echo complete`,
  );
  expect(said).toContain(
    "installation stopped: /dev/full cannot be written: dd: error writing '/dev/full': No space left",
  );
  expect(said).not.toContain("complete");
});

/** The disk vda as a file whose block at 2 MiB fails (blkdebug of QEMU, exported over FUSE), as a bad disk's does. */
async function withBadBlock<T>(fails: "write" | "read", work: () => Promise<T>): Promise<T> {
  const at = (name: string) => join(scratch, name);
  await writeFile(at("disk"), Buffer.alloc(8 * mib));
  await writeFile(at("dev/vda"), "");
  await writeFile(
    at("rules"),
    `[inject-error]\nevent = "none"\niotype = "${fails}"\nerrno = "5"\nsector = "${(2 * mib) / 512}"\n`,
  );
  const daemon = await startDaemon(
    "qemu-storage-daemon",
    [
      ...["--blockdev", `driver=file,node-name=file,filename=${at("disk")}`],
      ...["--blockdev", `driver=blkdebug,node-name=bad,image=file,config=${at("rules")}`],
      ...["--export", `type=fuse,id=export,node-name=bad,mountpoint=${at("dev/vda")},writable=on`],
    ],
    { log: at("log") },
  );
  try {
    await vi.waitUntil(async () => (await stat(at("dev/vda"))).size === 8 * mib, { timeout: 20_000 });
    return await work();
  } finally {
    await endDaemon(daemon, 5_000);
  }
}

test.each([
  ["write", "/dev/vda cannot be written: dd: "],
  ["read", "/dev/vda cannot be read: dd: "],
] as const)(
  "a disk with a bad block, found by a %s: stopped, and it is not one that starts",
  async (fails, message) => {
    await writeFile(join(scratch, "image"), image);
    const said = await withBadBlock(fails, async () => {
      // As drop_caches does it, of this one file.
      const forget = "forget_cached() { dd of=$target count=0 oflag=nocache conv=notrunc,fdatasync 2>/dev/null; }";
      return (await writes(`zstd -qc '${scratch}/image'`, forget)).said;
    });
    expect(said).toContain(`installation stopped: ${message}`);
    expect(said).not.toContain("complete");
    expect((await readFile(join(scratch, "disk"))).subarray(0, mib).equals(blank)).toBe(true);
  },
);

/** The writer before seeds for core-1 that are sealed by a passphrase; someone types these lines on its console. */
async function seedsOnConsole(lines: readonly string[], sealed: Uint8Array): Promise<string> {
  await writeFile(join(scratch, "here/nodes"), "core-1 1\nhub-1 1\n");
  await writeFile(join(scratch, "here/hardware"), "");
  await writeFile(join(scratch, "seeds"), sealed);
  const console = 'ln -s "$(tty)" $dev/ttyS0; consoles=ttyS0';
  const words = `${console}; sealed_seeds() { cat '${scratch}/seeds'; }; check_seed() { echo "seed of $chosen"; }; choose_seed; echo complete`;
  const { said } = await writer(words, {}, [], lines);
  return said.replaceAll("\r", "");
}

describe("seeds that are sealed by a passphrase, on a machine that no node's hardware is", () => {
  const passphrase = "correct horse battery staple";

  async function sealedFor(node: string): Promise<Buffer> {
    const seed = { name: `${node}.seed`, content: Buffer.from("a seed") };
    const sealed = await ageSeal(writeUstar([seed]), passphrase);
    const header = Buffer.alloc(4096);
    header.write(`KUBEDOS-SEEDS 1 ${sealed.length}\n`);
    return Buffer.concat([header, sealed]);
  }

  test("five wrong passphrases: stopped before anything is written", async () => {
    const said = await seedsOnConsole(["core-1", ...Array<string>(5).fill("guess")], await sealedFor("core-1"));
    expect(said).toContain("which node is this machine?");
    for (let tried = 1; tried <= 5; tried++) expect(said).toContain(`try ${tried} of 5`);
    expect(said).toContain("installation stopped: 5 wrong passphrases");
    expect(said).not.toContain("complete");
  });

  test("a name that no node has is asked for again; after a wrong passphrase the right one opens them", async () => {
    const said = await seedsOnConsole(["core-9", "core-1", "guess", passphrase], await sealedFor("core-1"));
    expect(said.match(/which node is this machine\?/g)).toHaveLength(2);
    expect(said).toContain("try 2 of 5");
    expect(said).not.toContain("try 3 of 5");
    expect(said).toContain("seed of core-1\ncomplete");
  });

  test("seeds without one for this node: stopped", async () => {
    const said = await seedsOnConsole(["core-1", passphrase], await sealedFor("hub-1"));
    expect(said).toContain("installation stopped: there is no seed of core-1 among them");
  });
});

/** The writer with a network card that has a link, a server at the address that the spec or DHCP says, and no waiting. */
async function fromNetwork(files: Record<string, string | Uint8Array>, words: string, url?: string) {
  for (const [card, link] of [
    ["lo", "1"],
    ["eth0", "0"],
    ["eth1", "1"],
  ] as const) {
    await mkdir(join(scratch, "sys/class/net", card), { recursive: true });
    await writeFile(join(scratch, "sys/class/net", card, "carrier"), link);
  }
  const served = new Map(
    Object.entries(files).map(([name, content]) => [`/${name}`, { content: Buffer.from(content) }]),
  );
  const server = await serveFiles({ address: "127.0.0.1", port: 0 }, served, () => undefined);
  try {
    // A static busybox may be unable to look up names where it was not built: curl stands in for its wget.
    const wget = 'wget() { for url; do :; done; curl -sSf --noproxy "*" "$url"; }';
    const alone = `${wget}; ip() { :; }; udhcpc() { :; }; sleep() { :; }; write_lease_script() { :; }`;
    const want_server = url ?? `http://127.0.0.1:${server.port}/`;
    return await writer(`${alone}; open_source; ${words}`, { want_server }, ["network"]);
  } finally {
    await server.close();
  }
}

test("network: the card with a link is asked; image and seeds come from the server", async () => {
  const files = { "image.sha256": sha256, "image.zst": "packed", seeds: "sealed" };
  const { said } = await fromNetwork(files, "stream; echo; sealed_seeds");
  expect(said).toMatch(/image from http:\/\/127\.0\.0\.1:\d+ by eth1\npacked\nsealed$/);
});

test.each([
  ["a server with another image", { "image.sha256": "0".repeat(64) }, undefined, / has another image than this writer/],
  ["a server without an image", {}, undefined, /no server with the image: http:\S+ does not answer/],
  ["no server", {}, "http://127.0.0.1:1", /no server with the image: http:\S+ does not answer/],
  ["nobody who names a server", {}, "", /no server with the image: eth1 has an address, and nobody says where/],
])("network: %s: stopped before anything is written", async (_what, files, url, message) => {
  const { said, ended } = await fromNetwork(files, "echo complete", url);
  expect(said).toMatch(message);
  expect(ended).toBe(false);
});

test("network: a server that goes away in the midst: stopped, and the disk is not one that starts", async () => {
  await disk("vda");
  await writeFile(join(scratch, "image"), image);
  const packed = (await run("zstd", ["-qc", join(scratch, "image")])).stdoutBytes;
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", (request) => {
      const whole = String(request).includes("image.sha256") ? Buffer.from(sha256) : packed;
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${whole.length}\r\nConnection: close\r\n\r\n`);
      socket.end(whole.length === 64 ? whole : whole.subarray(0, whole.length / 2));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const { said, ended } = await fromNetwork({}, "target=$dev/vda; chosen=''; write_image", url);
    expect(said).toMatch(/installation stopped: http:\S+ cannot be read to its end \(gone, or unreachable\?\)/);
    expect(ended).toBe(false);
    expect((await head()).equals(blank)).toBe(true);
  } finally {
    server.close();
  }
});

describe("a seed is checked as the installed machine does it", () => {
  const vault = fixedVault();
  const spec = fakeSpec();
  const cluster = clusterId(vault, spec.metadata.name);
  const seedOf = (name: string, change: Partial<Spec> = {}) =>
    Buffer.from(buildSeed({ ...spec, ...change }, vault, name).disk);
  const altered = (disk: Buffer) => {
    disk[4096 + 700]! ^= 1;
    return disk;
  };

  async function checked(disk: Uint8Array): Promise<{ said: string; ended: boolean }> {
    const here = join(scratch, "here");
    await writeFile(join(here, "foundry.pub"), signifyPublicKey(vault.signing.publicKey));
    await writeFile(join(here, "cluster-id"), `${cluster}\n`);
    await writeFile(join(here, "nodes"), spec.nodes.map(({ name, generation }) => `${name} ${generation}\n`).join(""));
    await writeFile(join(scratch, "run/core-1.seed"), disk);
    return writer("chosen=core-1; check_seed; echo good");
  }

  test("its own", async () => expect((await checked(seedOf("core-1"))).said).toBe("good\n"));

  test.each([
    ["of another node", () => seedOf("hub-1"), "what should be the seed of core-1 is that of hub-1"],
    ["altered", () => altered(seedOf("core-1")), "the seed of core-1 is altered or was not made by this foundry"],
    [
      "of another cluster",
      () => seedOf("core-1", { metadata: { ...spec.metadata, name: "other" } }),
      "the seed of core-1 belongs to another cluster",
    ],
    [
      "of an older key generation",
      () => seedOf("core-1", { nodes: spec.nodes.map((node) => ({ ...node, generation: node.generation + 1 })) }),
      "the seed of core-1 has key generation 2, which this image no longer accepts",
    ],
  ])("%s: refused", async (_what, disk, message) => {
    const { said, ended } = await checked(disk());
    expect(said).toContain(`installation stopped: ${message}`);
    expect(ended).toBe(false);
  });
});

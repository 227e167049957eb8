import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KubedosError } from "../../shared/error.ts";
import { fakeSpec } from "../../tests/fakes/spec.ts";
import { signifyPublicKey, signifySign } from "../vault/signify.ts";
import { fixedVault } from "../vault/testing.ts";
import { clusterId } from "./keys.ts";
import { clusterLayer } from "./layer.ts";
import { buildSeed, openSeed } from "./seed.ts";
import { readUstar, writeUstar } from "./ustar.ts";

const vault = fixedVault();
const spec = fakeSpec();
const id = clusterId(vault, "example");
const publicKey = signifyPublicKey(vault.signing.publicKey);
const { disk, credentials } = buildSeed(spec, vault, "core-1");

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "kubedos-seed-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

test("a seed opens to what it was made of", () => {
  const opened = openSeed(disk, publicKey, id, spec.nodes);
  expect([opened.node, opened.generation]).toEqual(["core-1", 1]);
  const text = (values: Record<string, Uint8Array>) =>
    Object.entries(values).map(([name, value]) => [name, Buffer.from(value).toString()]);
  expect(text(opened.credentials)).toEqual(text(credentials));
  expect(Object.keys(credentials)).toEqual([
    "kubedos.node",
    "kubedos.ssh_host_ed25519_key",
    "network.wireguard.private.wg1",
    "network.wireguard.private.wg2",
    "network.wireguard.private.wg3",
    "system.hostname",
    "system.machine_id",
  ]);
});

test("only hubs hold a key that opens the nodes to Ansible, each its own, and the layer has its public half", () => {
  const driven = fakeSpec();
  driven.platform.features.push("ansible");
  driven.nodes[1]!.roles = ["hub", "core"];
  const keys = driven.nodes.map(({ name }) => buildSeed(driven, vault, name).credentials["kubedos.automation_ssh_key"]);
  expect(keys.map((key) => key !== undefined)).toEqual([true, true, false]);
  const layer = clusterLayer(driven, vault, { openings: [] });
  const publicHalves = keys.slice(0, 2).map((key, i) => {
    const file = join(directory, `automation-${i}`);
    writeFileSync(file, key!, { mode: 0o600 });
    return execFileSync("ssh-keygen", ["-y", "-f", file], { encoding: "utf8" }).split(" ")[1];
  });
  expect(publicHalves).toEqual(layer.nodes.slice(0, 2).map((node) => node.automationKey));
  expect(publicHalves[0]).not.toBe(publicHalves[1]);
  expect(layer.nodes[2]!.automationKey).toBeUndefined();
});

test("the same spec and vault give the same bytes, another node or generation others", () => {
  expect(Buffer.from(buildSeed(spec, vault, "core-1").disk).equals(disk)).toBe(true);
  expect(Buffer.from(buildSeed(spec, vault, "hub-1").disk).equals(disk)).toBe(false);
  const raised = fakeSpec();
  raised.nodes[1]!.generation = 2;
  const next = buildSeed(raised, vault, "core-1").credentials;
  for (const name of ["network.wireguard.private.wg1", "kubedos.ssh_host_ed25519_key", "system.machine_id"]) {
    expect(next[name]).not.toEqual(credentials[name]);
  }
});

test("the initrd's own tools check and unpack it", () => {
  const [seed, key] = [join(directory, "seed"), join(directory, "foundry.pub")];
  writeFileSync(seed, disk);
  writeFileSync(key, publicKey);
  mkdirSync(join(directory, "out"));
  const script = `set -e
    cd "$1/out"
    size=$(head -n 1 ../seed | cut -d' ' -f3)
    head -c 4096 ../seed | tr -d '\\000' | sed -n '2,3p' > ../signature
    dd if=../seed bs=4096 skip=1 2>/dev/null | head -c "$size" > ../payload
    signify-openbsd -V -q -p ../foundry.pub -x ../signature -m ../payload
    tar -xf ../payload`;
  execFileSync("sh", ["-c", script, "sh", directory]);
  expect(readFileSync(join(directory, "out/manifest"), "utf8")).toBe(`cluster=${id}\nnode=core-1\ngeneration=1\n`);
  expect(readdirSync(join(directory, "out/credentials")).toSorted()).toEqual(Object.keys(credentials));
  for (const [name, value] of Object.entries(credentials)) {
    expect(readFileSync(join(directory, "out/credentials", name))).toEqual(Buffer.from(value));
  }
});

test("its secrets are what ssh-keygen and wg take", () => {
  const key = join(directory, "host-key");
  writeFileSync(key, credentials["kubedos.ssh_host_ed25519_key"]!, { mode: 0o600 });
  expect(execFileSync("ssh-keygen", ["-y", "-f", key], { encoding: "utf8" })).toMatch(
    /^ssh-ed25519 .* core-1\.example\n$/,
  );
  const wireguard = Buffer.from(credentials["network.wireguard.private.wg1"]!);
  expect(execFileSync("wg", ["pubkey"], { input: wireguard, encoding: "utf8" })).toMatch(/^[\w+/]{43}=\n$/);
});

describe("refused, with the reason:", () => {
  /** Why a changed seed is refused. */
  function why(changed: Uint8Array, cluster = id, expected = spec.nodes.map((node) => ({ ...node }))): string {
    try {
      openSeed(changed, publicKey, cluster, expected);
    } catch (error) {
      if (error instanceof KubedosError) return error.message;
      throw error;
    }
    return "opened";
  }
  function alteredAt(offset: number): Buffer {
    const altered = Buffer.from(disk);
    altered[offset]! ^= 1;
    return altered;
  }

  test("missing", () => {
    expect(why(Buffer.alloc(0))).toMatch(/it is missing/);
    expect(why(Buffer.alloc(1024 * 1024))).toMatch(/it is missing/);
  });
  test("a byte of the payload altered", () => {
    expect(why(alteredAt(4096))).toMatch(/its signature does not match/);
    expect(why(alteredAt(4096 + 3000))).toMatch(/its signature does not match/);
  });
  test("a byte of the signature altered", () => {
    const base64 = Buffer.from(disk).indexOf("foundry.pub\n") + "foundry.pub\n".length;
    expect(why(alteredAt(base64 + 60))).toMatch(/signature (does not match|cannot be read)/);
  });
  test("its length altered", () => {
    const text = Buffer.from(disk).toString("latin1");
    const withLength = (length: string) => Buffer.from(text.replace(/SEED 1 \d+/, `SEED 1 ${length}`), "latin1");
    expect(why(withLength("1024"))).toMatch(/its signature does not match/);
    expect(why(withLength("99999"))).toMatch(/it is cut off/);
    for (const length of ["0", "-1", "1e3", ""])
      expect(why(withLength(length))).toMatch(/its header was altered|it is missing/);
  });
  test("cut off", () => {
    for (const length of [4096, 4096 + 512, disk.length - 4096])
      expect(why(disk.subarray(0, length))).toMatch(/it is cut off/);
    expect(why(disk.subarray(0, 100))).toMatch(/its header was altered/);
  });
  test("of a newer format", () => {
    const text = Buffer.from(disk).toString("latin1").replace("SEED 1 ", "SEED 2 ");
    expect(why(Buffer.from(text, "latin1"))).toMatch(/unknown format version 2/);
  });
  test("of another foundry", () => {
    const foreign = buildSeed(spec, fixedVault(2), "core-1").disk;
    expect(why(foreign)).toMatch(/signed by another foundry/);
  });
  test("of another cluster of the same foundry", () => {
    const other = { ...spec, metadata: { name: "other" } };
    expect(why(buildSeed(other, vault, "core-1").disk)).toMatch(/another cluster/);
  });
  test("of another generation", () => {
    const raised = spec.nodes.map((node) => ({ ...node, generation: 2 }));
    expect(why(disk, id, raised)).toMatch(/key generation is 1, the cluster layer's is 2/);
  });
  test("of a node that was revoked", () => {
    expect(why(disk, id, [spec.nodes[0]!])).toMatch(/core-1 is not in the cluster layer/);
  });
  test("signed, but with a manifest that is not ours", () => {
    const payload = writeUstar([{ name: "manifest", content: Buffer.from("cluster=x\n") }]);
    const made = Buffer.alloc(8192);
    made.write(`KUBEDOS-SEED 1 ${payload.length}\n${signifySign(vault.signing, payload)}`);
    payload.copy(made, 4096);
    expect(why(made)).toMatch(/manifest is missing or malformed/);
  });
  test("altered in any one bit that counts", () => {
    const used = Number(/SEED 1 (\d+)/.exec(Buffer.from(disk).toString("latin1"))![1]);
    fc.assert(
      fc.property(fc.nat(used - 1), fc.nat(7), (offset, bit) => {
        const altered = Buffer.from(disk);
        altered[4096 + offset]! ^= 1 << bit;
        expect(why(altered)).toMatch(/^seed refused/);
      }),
    );
  });
});

test("a node or vault that the spec does not know", () => {
  expect(() => buildSeed(spec, vault, "stranger")).toThrow(/no node "stranger"/);
  const pinned = fakeSpec();
  pinned.trust.foundryKey = "RWRother";
  expect(() => buildSeed(pinned, vault, "core-1")).toThrow(/another foundry/);
});

describe("the archive", () => {
  test("is what GNU tar lists and unpacks", () => {
    const members = [0, 1, 511, 512, 513, 5000].map((size) => ({
      name: `d/${size}`,
      content: Buffer.alloc(size, size),
    }));
    const archive = writeUstar(members);
    const listed = execFileSync("tar", ["-tvf", "-", "--utc", "--full-time"], { input: archive, encoding: "utf8" });
    expect(listed.split("\n")[4]).toBe("-rw------- root/root       513 1970-01-01 00:00:00 d/513");
    expect(execFileSync("tar", ["-xOf", "-"], { input: archive })).toEqual(
      Buffer.concat(members.map((m) => m.content)),
    );
    expect(readUstar(archive)).toEqual(members);
  });

  test("reads back, and never reads what was changed as something else", () => {
    const member = fc.record({
      name: fc.stringMatching(/^[a-z0-9._/-]{1,99}$/),
      content: fc.uint8Array({ maxLength: 1500 }).map((bytes) => Buffer.from(bytes)),
    });
    fc.assert(
      fc.property(fc.array(member, { maxLength: 5 }), (members) => {
        expect(readUstar(writeUstar(members))).toEqual(members);
      }),
    );
    expect(() => readUstar(Buffer.alloc(100))).toThrow(/cut off/);
    expect(() => readUstar(Buffer.alloc(1024, 1))).toThrow(/not ours/);
    expect(() => writeUstar([{ name: "x".repeat(101), content: Buffer.alloc(0) }])).toThrow(/too long/);
  });
});

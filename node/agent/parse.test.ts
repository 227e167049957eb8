import { rmSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseFping } from "./fabric.ts";
import { nodeFacts, uptimeSeconds, verityRootHash } from "./facts.ts";
import { readIdentity } from "./identity.ts";
import { parseSockets } from "./listening.ts";
import { nodePaths } from "./paths.ts";
import { makeNodeRoot, type NodeRoot } from "./testing.ts";

let node: NodeRoot;
beforeEach(() => {
  node = makeNodeRoot("hub-1");
});
afterEach(() => rmSync(node.root, { recursive: true }));

const hash = "0123456789abcdef".repeat(4);
const other = "f".repeat(64);

test("fping's figures, with gaps and noise between them", () => {
  const text = [
    "ICMP Host Unreachable from 10.0.0.1 for ICMP Echo sent to 10.101.0.3",
    "10.101.0.2 : 0.52 - 12",
    "10.101.0.3 : - - -",
    "",
  ];
  expect([...parseFping(text.join("\n"))]).toEqual([
    ["10.101.0.2", [0.52, undefined, 12]],
    ["10.101.0.3", [undefined, undefined, undefined]],
  ]);
});

test("sockets as ss prints them", () => {
  const text = `udp UNCONN 0 0 0.0.0.0:51821 0.0.0.0:*
tcp LISTEN 0 128 10.101.0.1:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))
udp UNCONN 0 0 [fe80::1]%wg1:546 [::]:* users:(("a b",pid=1,fd=3),("c",pid=2,fd=3))
tcp LISTEN 0 128 *:80 *:*
`;
  expect(parseSockets(text)).toEqual([
    { protocol: "udp", address: "0.0.0.0", port: 51821 },
    { protocol: "tcp", address: "10.101.0.1", port: 22, process: "sshd" },
    { protocol: "udp", address: "fe80::1", port: 546, process: "a b" },
    { protocol: "tcp", address: "::", port: 80 },
  ]);
});

test("a socket that cannot be read is an error, not a socket less", () => {
  expect(() => parseSockets("tcp LISTEN 0 128 somewhere\n")).toThrow(/cannot read this line of ss/);
});

test("the root hash is the kernel's, before the initrd's note", () => {
  const paths = nodePaths(node.root);
  expect(verityRootHash(paths)).toBeUndefined();
  node.write("/run/kubedos/roothash", `${other}\n`);
  expect(verityRootHash(paths)).toBe(other);
  const table = `data: 0 8 verity 1 1:2 1:3 4096 4096 9 0 sha256 ${other} 00\nroot: 0 8 verity 1 254:2 254:3 4096 4096 9 0 sha256 ${hash} 00 1 panic_on_corruption\n`;
  node.write("/run/kubedos/verity-table", table);
  expect(verityRootHash(paths)).toBe(hash);
});

test("facts of a sealed machine", async () => {
  const guid = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
  node.write(`/sys/firmware/efi/efivars/SecureBoot-${guid}`, Buffer.from([6, 0, 0, 0, 1]));
  node.write(`/sys/firmware/efi/efivars/SetupMode-${guid}`, Buffer.from([6, 0, 0, 0, 0]));
  node.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
  node.write("/sys/class/tpm/tpm0/tpm_version_major", "2\n");
  node.write("/run/kubedos/roothash", hash);
  node.write("/proc/uptime", "12.34 5.00\n");
  node.write("/proc/meminfo", "MemTotal:         500000 kB\nMemFree: 1 kB\nMemAvailable:     400000 kB\n");
  const paths = nodePaths(node.root);
  expect(await nodeFacts(paths, readIdentity(paths, {}))).toMatchObject({
    secureBoot: true,
    setupMode: false,
    lockdown: "integrity",
    tpm: true,
    rootHash: hash,
    sealed: true,
    uptimeSeconds: 12.34,
    memoryTotalBytes: 512_000_000,
    memoryAvailableBytes: 409_600_000,
    planes: [],
  });
});

test("facts of a container: unsealed, whatever the host says", async () => {
  node.write("/run/systemd/container", "systemd-nspawn\n");
  node.write("/run/kubedos/roothash", hash);
  node.write("/sys/class/tpm/tpm0/tpm_version_major", "2\n");
  const paths = nodePaths(node.root);
  const facts = await nodeFacts(paths, readIdentity(paths, {}));
  expect(facts).toMatchObject({ sealed: false, tpm: false, planes: [] });
  expect(facts.secureBoot).toBeUndefined();
});

test("a container's uptime is that of its first process", () => {
  node.write("/proc/uptime", "1000.50 5.00\n");
  const fields = ["S", ...Array.from({ length: 18 }, () => "0"), "90000", "0"];
  node.write("/proc/1/stat", `1 (a) b) ${fields.join(" ")}\n`);
  expect(uptimeSeconds(nodePaths(node.root), true)).toBe(100.5);
});

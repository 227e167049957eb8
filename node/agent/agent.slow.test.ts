import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { readFileSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { FabricProbe, ListeningSocket, ScanResult } from "../../shared/agent-api.ts";
import type { KubedosEvent } from "../../shared/events.ts";
import { nodeFlags } from "../../shared/node-flags.ts";
import {
  type Authorities,
  deriveAuthorities,
  issueLeaf,
  type LeafRequest,
  publicAuthorities,
} from "../../src/vault/pki.ts";
import { fixedVault } from "../../src/vault/testing.ts";
import { bundledAgent, makeNodeRoot, type NodeRoot } from "./testing.ts";

// The bundled agent in a network namespace of its own. The planes are Ethernet pairs and the peers' addresses are
// local, because what is tested is the agent, not WireGuard.
let node: NodeRoot;
let agent: ChildProcess;

const peers = [3, 4].flatMap((index) => [101, 102, 103].map((plane) => `10.${plane}.0.${index - 1}`));
const network = [
  "set -e",
  "ip link set lo up",
  ...[1, 2].flatMap((n) => [
    `ip link add wg${n} type veth peer name peer${n}`,
    `ip link set peer${n} up`,
    `ip link set wg${n} up`,
    `ip addr add 10.${100 + n}.0.1/16 dev wg${n}`,
  ]),
  ...peers.filter((address) => !address.startsWith("10.103.")).map((address) => `ip addr add ${address}/32 dev lo`),
  "nft -f - <<X\ntable inet t { chain c { type filter hook input priority 0; tcp dport 4444 drop; udp dport 4444 drop; tcp dport 4445 reject with icmpx type admin-prohibited; }; }\nX",
  'exec "$@"',
].join("\n");

beforeAll(async () => {
  node = makeNodeRoot("hub-1");
  node.write("/run/kubedos/host/.keep", "");
  node.write("/run/systemd/container", "test");
  node.write("/proc/uptime", "1.00 1.00\n");
  await writeCertificates();
  const command = [process.execPath, ...nodeFlags, bundledAgent(), "boot", "--root", node.root];
  const own = process.getuid?.() === 0 ? ["--net"] : ["--map-root-user", "--net"];
  agent = spawn("unshare", [...own, "sh", "-c", network, "sh", ...command], { stdio: ["ignore", "ignore", "inherit"] });
  await waitFor((event) => event.type === "node.phase" && event.phase === "rendered");
}, 30_000);

afterAll(() => {
  agent.kill("SIGKILL");
  rmSync(node.root, { recursive: true });
});

/** The node's own certificate, and those of callers, in files for curl. */
async function writeCertificates(): Promise<void> {
  const vault = fixedVault();
  const [own, other] = [
    await deriveAuthorities(vault, "example", 1),
    await deriveAuthorities(fixedVault(2), "example", 1),
  ];
  const now = new Date();
  async function issue(
    name: string,
    commonName: string,
    change: { days?: number; purpose?: "etcd"; from?: Authorities },
  ) {
    const { days = 1, purpose = "agent", from = own } = change;
    const names = { dns: [], ip: ["10.101.0.1"] };
    const owner = { cluster: "example", name: commonName, generation: 1 };
    const issuedAt = new Date(now.getTime() - (days < 0 ? 10 * 24 * 3600_000 : 0));
    const request: LeafRequest = { purpose, owner, commonName, names, issuedAt, days: Math.abs(days) };
    const leaf = await issueLeaf(vault, from, request);
    node.write(`/certificates/${name}.crt`, leaf.certificate);
    node.write(`/certificates/${name}.key`, leaf.key);
    return leaf;
  }
  const hub = await issue("node", "hub-1", {});
  await issue("operator", "operator:operator-1", {});
  await issue("stranger", "worker-9", {});
  await issue("etcd", "hub-1", { purpose: "etcd" });
  await issue("foreign", "hub-1", { from: other });
  await issue("expired", "hub-1", { days: -2 });
  const pki = publicAuthorities(own);
  node.write("/certificates/ca.crt", pki.authorities.agent);
  node.write("/run/kubedos/layer/cluster.json", JSON.stringify({ ...node.layer, pki }));
  node.write("/run/credentials/@system/kubedos.pki.agent.crt", hub.certificate);
  node.write("/run/credentials/@system/kubedos.pki.agent.key", hub.key);
  // Out of date: the node says so itself.
  const old = await issue("old", "hub-1", { days: -2, purpose: "etcd" });
  node.write("/run/credentials/@system/kubedos.pki.etcd.crt", old.certificate);
  node.write("/run/credentials/@system/kubedos.pki.etcd.key", old.key);
}

function events(): KubedosEvent[] {
  const path = join(node.root, "/run/kubedos/host/events.jsonl");
  const lines = statSync(path, { throwIfNoEntry: false }) === undefined ? [] : readFileSync(path, "utf8").split("\n");
  return lines.slice(0, -1).map((line) => JSON.parse(line) as KubedosEvent);
}

async function waitFor<T extends KubedosEvent>(wanted: (event: KubedosEvent) => boolean): Promise<T> {
  for (let tries = 0; tries < 200; tries += 1) {
    const found = events().find(wanted);
    if (found !== undefined) return found as T;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`no such event within 10 s; there are: ${JSON.stringify(events(), null, 1)}`);
}

async function send(data: string | Uint8Array): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = connect(join(node.root, "/run/kubedos/host/control.sock"));
    socket.on("error", reject);
    socket.on("close", () => resolve());
    socket.end(data);
  });
}

type Reply = Extract<KubedosEvent, { type: "node.reply" }>;

async function ask<T>(request: { id: string } & Record<string, unknown>): Promise<T> {
  await send(`${JSON.stringify(request)}\n`);
  const reply = await waitFor<Reply>((event) => event.type === "node.reply" && event.id === request.id);
  expect(reply).toMatchObject({ ok: true });
  return reply.data as T;
}

function inNamespace(...command: string[]): string {
  const user = process.getuid?.() === 0 ? [] : ["--user", "--preserve-credentials"];
  return execFileSync("nsenter", ["--target", String(agent.pid), "--net", ...user, ...command], { encoding: "utf8" });
}

function phases(): string[] {
  return events().flatMap((event) => (event.type === "node.phase" ? [event.phase] : []));
}

test("phases follow the planes, one by one", async () => {
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(phases()).toEqual(["rendered"]);

  inNamespace("ip", "link", "add", "wg3", "type", "veth", "peer", "name", "peer3");
  inNamespace("ip", "link", "set", "peer3", "up");
  inNamespace("ip", "link", "set", "wg3", "up");
  inNamespace("ip", "addr", "add", "10.103.0.1/16", "dev", "wg3");
  inNamespace("ip", "addr", "add", "10.103.0.2/32", "dev", "lo");
  await waitFor((event) => event.type === "node.phase" && event.phase === "planes");

  // One pair is missing still.
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(phases()).toEqual(["rendered", "planes"]);

  inNamespace("ip", "addr", "add", "10.103.0.3/32", "dev", "lo");
  await waitFor((event) => event.type === "node.phase" && event.phase === "fabric");
  const facts = await waitFor((event) => event.type === "node.facts");
  expect(facts).toMatchObject({
    node: "hub-1",
    facts: { sealed: false, planes: [{ name: "wg1", address: "10.101.0.1" }, {}, {}] },
  });
}, 30_000);

test("the control socket is for its owner only", () => {
  expect(statSync(join(node.root, "/run/kubedos/host/control.sock")).mode & 0o777).toBe(0o600);
});

test("answers what it is asked", async () => {
  expect(await ask({ id: "1", command: "facts" })).toMatchObject({
    planes: [{ name: "wg1" }, { name: "wg2" }, { name: "wg3" }],
  });

  const { pairs } = await ask<FabricProbe>({ id: "2", command: "fabric", count: 2 });
  expect(pairs.map((pair) => `${pair.plane} ${pair.peer} ${pair.address} ${pair.sent} ${pair.received}`)).toEqual([
    "wg1 worker-1 10.101.0.2 2 2",
    "wg1 worker-2 10.101.0.3 2 2",
    "wg2 worker-1 10.102.0.2 2 2",
    "wg2 worker-2 10.102.0.3 2 2",
    "wg3 worker-1 10.103.0.2 2 2",
    "wg3 worker-2 10.103.0.3 2 2",
  ]);
  expect(pairs.every((pair) => pair.averageMs !== undefined && pair.averageMs >= 0)).toBe(true);

  inNamespace("ip", "addr", "del", "10.103.0.3/32", "dev", "lo");
  const probe = await ask<FabricProbe>({ id: "3", command: "fabric", count: 1 });
  expect(probe.pairs.at(-1)).toEqual({ plane: "wg3", peer: "worker-2", address: "10.103.0.3", sent: 1, received: 0 });
}, 30_000);

/** What curl says with somebody's certificate: `<status> <body>`, or `refused`. */
function curl(certificate: string | undefined, path: string): string {
  const own =
    certificate === undefined ? [] : ["--cert", file(`${certificate}.crt`), "--key", file(`${certificate}.key`)];
  const args = ["-s", "-w", "\n%{http_code}", "--cacert", file("ca.crt"), ...own, `https://10.101.0.1:7443${path}`];
  try {
    const [body = "", code = ""] = inNamespace("curl", ...args)
      .split("\n")
      .filter((line) => line !== "");
    return `${code} ${body}`;
  } catch {
    return "refused";
  }
}

function file(name: string): string {
  return join(node.root, "certificates", name);
}

test("serves its status to members of the cluster, on the control plane, and listens on nothing else", async () => {
  let status = "refused";
  for (let tries = 0; status === "refused" && tries < 50; tries += 1) {
    status = curl("operator", "/status");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  expect(status).toMatch(/^200 /);
  expect(JSON.parse(status.slice(4))).toMatchObject({
    node: "hub-1",
    cluster: "example",
    phase: "fabric",
    facts: {
      sealed: false,
      certificates: [
        { purpose: "agent", valid: true },
        { purpose: "etcd", valid: false },
      ],
    },
  });
  expect(curl("node", "/other")).toMatch(/^404 .*only \/status/);
  // No certificate, of another foundry, of another purpose, out of date, of somebody the layer does not know.
  const verdicts = [undefined, "foreign", "etcd", "expired", "stranger"].map((who) => curl(who, "/status"));
  expect(verdicts).toEqual([
    "refused",
    "refused",
    expect.stringMatching(/^403/),
    "refused",
    expect.stringMatching(/^403/),
  ]);
  const sockets = await ask<ListeningSocket[]>({ id: "4", command: "listening" });
  expect(sockets).toEqual([
    { protocol: "tcp", address: "10.101.0.1", port: 7443, process: expect.any(String) as string },
  ]);
});

test("tells open, refused and silent apart", async () => {
  const at = (protocol: "tcp" | "udp", port: number) => ({ protocol, address: "10.101.0.1", port });
  const targets = [at("tcp", 7443), at("tcp", 1), at("tcp", 4444), at("tcp", 4445), at("udp", 1), at("udp", 4444)];
  const many = Array.from({ length: 500 }, (_, i) => at("tcp", 20_000 + i));
  const results = await ask<ScanResult[]>({ id: "5", command: "scan", timeoutMs: 400, targets: [...targets, ...many] });
  const outcomes = ["open", "refused", "silent", "refused", "refused", "silent", ...many.map(() => "refused")];
  expect(results.map((result) => result.outcome)).toEqual(outcomes);
  expect(results.map(({ protocol, address, port }) => ({ protocol, address, port }))).toEqual([...targets, ...many]);
});

test("a target that it cannot try at all is an error, not a closed port", async () => {
  await send(
    '{"id":"6","command":"scan","timeoutMs":300,"targets":[{"protocol":"tcp","address":"192.0.2.1","port":1}]}\n',
  );
  const reply = await waitFor<Reply>((event) => event.type === "node.reply" && event.id === "6");
  expect(reply).toMatchObject({ ok: false, error: expect.stringContaining("cannot try tcp 192.0.2.1:1") as string });
});

test("lives through whatever is sent to it", async () => {
  await send('not json\n{"id":"bad","command":"reboot"}\n\n');
  expect(await waitFor((event) => event.type === "node.reply" && event.id === "bad")).toMatchObject({ ok: false });
  await send(Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7919) % 256)));
  await send("{".repeat(3 * 1024 * 1024));
  await send('{"id":"cut","comm');
  expect(await ask({ id: "alive", command: "facts" })).toMatchObject({ sealed: false });
  expect(agent.exitCode).toBeNull();
});

import { execFile } from "node:child_process";
import { readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type { KubedosEvent } from "../../shared/events.ts";
import type { LayerPki } from "../../shared/pki.ts";
import { nodeFlags } from "../../shared/node-flags.ts";
import { bundledAgent, makeNodeRoot, type NodeRoot } from "./testing.ts";

let agent: string;
let node: NodeRoot;

beforeAll(() => {
  agent = bundledAgent();
});
beforeEach(() => {
  node = makeNodeRoot("worker-1");
  node.write("/run/kubedos/host/.keep", ""); // events go to a file here
});
afterEach(() => rmSync(node.root, { recursive: true }));

async function render(): Promise<{ status: number; stderr: string; events: KubedosEvent[] }> {
  const args = [...nodeFlags, agent, "render", "--root", node.root];
  const result = await promisify(execFile)(process.execPath, args, { env: {} }).then(
    ({ stderr }) => ({ status: 0, stderr }),
    (error: { code: number; stderr: string }) => ({ status: error.code, stderr: error.stderr }),
  );
  let log = "";
  try {
    log = read("/run/kubedos/host/events.jsonl");
  } catch {
    // no event was written
  }
  const events = log.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as KubedosEvent]));
  return { ...result, events };
}

function read(path: string): string {
  return readFileSync(join(node.root, path), "utf8");
}

test("writes the configuration of exactly this node", async () => {
  expect(await render()).toMatchObject({ status: 0, stderr: "", events: [] });
  expect(read("/run/systemd/network/20-kubedos-wg2.network")).toContain("Address=10.102.0.2/16");
  expect(read("/run/kubedos/sshd_listen.conf")).toBe("ListenAddress 10.101.0.2\n");
  expect(read("/run/kubedos/node-exporter.env")).toContain("--web.listen-address=10.102.0.2:9100");
  expect(read("/run/kubedos/resolv.conf")).toBe("nameserver 10.100.0.1\n");
  expect(read("/run/kubedos/chrony/kubedos.conf")).toBe(
    "server 10.101.0.1 iburst minpoll 4 maxpoll 8\nbindaddress 10.101.0.2\nallow 10.101.0.1\n",
  );
  // networkd reads its files as an unprivileged user
  expect(statSync(join(node.root, "/run/systemd/network/20-kubedos-wg1.netdev")).mode & 0o777).toBe(0o644);
});

test("a hub serves the time on the control plane only, and takes it from nodes that run already", async () => {
  node.write("/run/credentials/@system/kubedos.node", "hub-1\n");
  await render();
  const lines = [
    "initstepslew 1 10.101.0.2 10.101.0.3",
    "bindaddress 10.101.0.1",
    "allow 10.101.0.0/16",
    "local stratum 8 orphan",
  ];
  expect(read("/run/kubedos/chrony/kubedos.conf")).toBe(`${lines.join("\n")}\n`);
});

test("rendering again gives the same files and removes planes that are gone", async () => {
  await render();
  const before = read("/run/kubedos/nftables.conf");
  await render();
  expect(read("/run/kubedos/nftables.conf")).toBe(before);

  node.write("/run/systemd/network/50-other.network", "");
  node.write(
    "/run/kubedos/layer/cluster.json",
    JSON.stringify({ ...node.layer, planes: node.layer.planes.slice(0, 2) }),
  );
  await render();
  expect(readdirSync(join(node.root, "/run/systemd/network")).toSorted()).toEqual([
    "10-kubedos-underlay.network",
    "20-kubedos-wg1.netdev",
    "20-kubedos-wg1.network",
    "20-kubedos-wg2.netdev",
    "20-kubedos-wg2.network",
    "50-other.network",
  ]);
});

test("in a container the underlay is host0", async () => {
  node.write("/run/systemd/container", "systemd-nspawn");
  expect((await render()).status).toBe(0);
  expect(read("/run/systemd/network/10-kubedos-underlay.network")).toContain("Name=host0");
});

test.each([
  [
    "no seed",
    "worker-1",
    /credential kubedos\.node is missing/,
    (n: NodeRoot) => rmSync(join(n.root, "/run/credentials"), { recursive: true }),
  ],
  ["a foreign seed", "stranger", /"stranger" is not in the cluster layer/, undefined],
  ["a name that is none", "../x", /is not a node name/, undefined],
  [
    "no layer",
    "worker-1",
    /cluster layer is missing/,
    (n: NodeRoot) => rmSync(join(n.root, "/run/kubedos/layer"), { recursive: true }),
  ],
  [
    "a layer cut short",
    "worker-1",
    /is not JSON/,
    (n: NodeRoot) => n.write("/run/kubedos/layer/cluster.json", '{"format":1,'),
  ],
  [
    "a layer of later times",
    "worker-1",
    /has the format 2/,
    (n: NodeRoot) => n.write("/run/kubedos/layer/cluster.json", '{"format":2}'),
  ],
  [
    "a layer with holes",
    "worker-1",
    /damaged \(planes/,
    (n: NodeRoot) => n.write("/run/kubedos/layer/cluster.json", '{"format":1}'),
  ],
  [
    "null for a layer",
    "worker-1",
    /has the format undefined/,
    (n: NodeRoot) => n.write("/run/kubedos/layer/cluster.json", "null"),
  ],
])(
  "%s: says so on the console and in an event, and does not ask to be started again",
  async (_what, name, message, damage) => {
    node.write("/run/credentials/@system/kubedos.node", name);
    node.write("/dev/console", "");
    damage?.(node);
    const { status, stderr, events } = await render();
    expect(status).toBe(78);
    expect(stderr).toMatch(/^kubedos: FAILED: /);
    expect(stderr).toMatch(message);
    expect(read("/dev/console")).toBe(`\r\n${stderr}`);
    expect(events).toMatchObject([
      { type: "node.phase", phase: "failed", note: expect.stringMatching(message) as string },
    ]);
  },
);

test("certificates of the seed become files that services are given: keys are root's alone", async () => {
  node.write("/run/kubedos/layer/cluster.json", JSON.stringify({ ...node.layer, pki }));
  node.write("/run/credentials/@system/kubedos.pki.etcd.crt", "ETCD CERTIFICATE\n");
  node.write("/run/credentials/@system/kubedos.pki.etcd.key", "ETCD KEY\n");
  node.write("/run/credentials/@system/kubedos.pki.agent.crt", "AGENT CERTIFICATE WITHOUT A KEY\n");
  expect(await render()).toMatchObject({ status: 0, stderr: "" });
  const directory = join(node.root, "/run/kubedos/pki");
  const files = readdirSync(directory).map((name) => [
    name,
    (statSync(join(directory, name)).mode & 0o777).toString(8),
    read(`/run/kubedos/pki/${name}`),
  ]);
  expect(files).toEqual([
    ["agent.ca.crt", "644", "AGENT CA\n"],
    ["etcd.ca.crt", "644", "ETCD CA\n"],
    ["etcd.crt", "644", "ETCD CERTIFICATE\n"],
    ["etcd.key", "600", "ETCD KEY\n"],
    ["root.ca.crt", "644", "ROOT\n"],
    ["telemetry.ca.crt", "644", "TELEMETRY CA\n"],
  ]);
});

const pki: LayerPki = {
  root: "ROOT\n",
  authorities: { agent: "AGENT CA\n", etcd: "ETCD CA\n", telemetry: "TELEMETRY CA\n" },
};

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { deriveAuthorities, issueLeaf, type LeafRequest, publicAuthorities } from "../../src/vault/pki.ts";
import { fixedVault } from "../../src/vault/testing.ts";
import { bundledAgent, makeNodeRoot, type NodeRoot } from "./testing.ts";

let agent: string;
let node: NodeRoot;
let text: (change?: Partial<LeafRequest> & { vault?: number }) => Promise<string>;

beforeAll(() => {
  agent = bundledAgent();
});
beforeEach(async () => {
  node = makeNodeRoot("worker-1");
  const authorities = await deriveAuthorities(fixedVault(), "example", 1);
  node.write("/run/kubedos/layer/cluster.json", JSON.stringify({ ...node.layer, pki: publicAuthorities(authorities) }));
  text = async ({ vault = 1, ...change } = {}) => {
    const request: LeafRequest = {
      purpose: "agent",
      owner: { cluster: "example", name: "worker-1", generation: 1 },
      commonName: "worker-1",
      names: { dns: ["worker-1"], ip: [] },
      issuedAt: new Date(),
      days: 1,
      ...change,
    };
    const from = await deriveAuthorities(fixedVault(vault), "example", 1);
    const { certificate, key } = await issueLeaf(fixedVault(vault), from, request);
    return JSON.stringify({ "kubedos.pki.agent.crt": certificate, "kubedos.pki.agent.key": key });
  };
});
afterEach(() => rmSync(node.root, { recursive: true }));

function take(input: string): { status: number | null; stderr: string } {
  const { status, stderr } = spawnSync(process.execPath, [agent, "certificates", "--root", node.root], {
    input,
    encoding: "utf8",
  });
  return { status, stderr };
}

test("a renewed certificate takes the place of the old one, its key stays private", async () => {
  const input = await text();
  expect(take(input)).toEqual({ status: 0, stderr: "" });
  const directory = join(node.root, "/run/kubedos/pki");
  const values = JSON.parse(input) as Record<string, string>;
  expect(readFileSync(join(directory, "agent.crt"), "utf8")).toBe(values["kubedos.pki.agent.crt"]);
  expect(statSync(join(directory, "agent.key")).mode & 0o777).toBe(0o600);
});

test("what is not this node's, or not of this cluster, is refused and nothing is written", async () => {
  const good = JSON.parse(await text()) as Record<string, string>;
  const other = JSON.parse(await text({ owner: { cluster: "example", name: "x", generation: 1 } })) as typeof good;
  const tries: [string, RegExp][] = [
    [await text({ commonName: "hub-1" }), /not this node's/],
    [await text({ purpose: "etcd" }), /another authority/],
    [await text({ vault: 2 }), /another authority/],
    [await text({ issuedAt: new Date(Date.now() - 3 * 24 * 3600_000) }), /it ended/],
    [JSON.stringify({ ...good, "kubedos.pki.agent.key": other["kubedos.pki.agent.key"] }), /does not fit/],
    [JSON.stringify({ ...good, "kubedos.pki.agent.crt": "nonsense" }), /refused/],
    ["{}", /no certificate was given/],
    ["[1]", /not a JSON object/],
    ["", /not a JSON object/],
  ];
  for (const [input, why] of tries) {
    const { status, stderr } = take(input);
    expect([status, stderr]).toEqual([null, expect.stringMatching(why)]);
    expect(stderr).not.toMatch(/PRIVATE KEY/);
  }
  expect(existsSync(join(node.root, "/run/kubedos/pki"))).toBe(false);
});

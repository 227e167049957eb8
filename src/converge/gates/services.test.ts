import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ClusterLayer } from "../../../shared/cluster-layer.ts";
import { exampleLayer } from "../../../shared/render/testing.ts";
import { fakeSpec } from "../../../tests/fakes/spec.ts";
import { containerdGate } from "./containerd.ts";
import { etcdGate } from "./etcd.ts";
import { isolationGate } from "./isolation.ts";
import { logsGate } from "./logs.ts";
import { securityGate } from "./security.ts";
import { targetsGate } from "./targets.ts";
import type { Gate, GateCheck, GateContext, Shell } from "./types.ts";
import { vipGate } from "./vip.ts";

const layer: ClusterLayer = {
  ...exampleLayer({ nodes: 6, roles: ["core", "core", "core", "edge", "edge"] }),
  features: ["edge", "etcd", "observability"],
  edge: {
    plane: "wg3",
    vip: "10.103.0.200",
    services: [{ name: "etcd", port: 2379, targetRole: "core", targetPort: 2379 }],
  },
};

function context(shell: Shell, ask: GateContext["observer"]["ask"]): GateContext {
  return {
    spec: fakeSpec(),
    layer,
    rootHash: "",
    sealedSubstrate: true,
    observer: { nodes: () => [], poll: async () => undefined, convergence: () => undefined, ask },
    shell,
    signal: new AbortController().signal,
  };
}

// The gates wait minutes for what is slow in coming; here nothing comes.
beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** What `up` makes of a gate: one that throws has failed. */
async function passes(gate: Gate, gateContext: GateContext): Promise<{ passed: boolean; failures: GateCheck[] }> {
  const running = gate
    .run(gateContext)
    .catch((error: unknown): GateCheck[] => [{ what: gate.summary, ok: false, evidence: String(error) }]);
  await vi.advanceTimersByTimeAsync(600_000);
  const checks = await running;
  const failures = checks.filter(({ ok }) => !ok);
  return { passed: checks.length > 0 && failures.length === 0, failures };
}

const all = [isolationGate, securityGate, etcdGate, containerdGate, vipGate, targetsGate, logsGate];

test.each(all.map((gate) => [gate.name, gate] as const))(
  "%s: nodes that do not answer fail it",
  async (_name, gate) => {
    const silent = () => Promise.reject(new Error("no answer"));
    expect(await passes(gate, context(silent, silent))).toMatchObject({ passed: false });
  },
);

test.each(all.map((gate) => [gate.name, gate] as const))("%s: nonsense fails it", async (_name, gate) => {
  const nonsense = async () => ({ status: 0, stdout: "", stderr: "" });
  expect(
    await passes(
      gate,
      context(nonsense, async () => []),
    ),
  ).toMatchObject({ passed: false });
});

test("etcd: a cluster that loses the write without its leader fails it", async () => {
  let puts = 0;
  const shell: Shell = async (_node, command) => {
    const text = command.join(" ");
    if (text.includes("endpoint status")) return { status: 0, stdout: JSON.stringify(statuses), stderr: "" };
    if (text.includes(" put "))
      return { status: puts++ === 0 ? 0 : 1, stdout: puts === 1 ? "OK" : "", stderr: "timed out" };
    return { status: 0, stdout: "", stderr: "" };
  };
  const { passed, failures } = await passes(
    etcdGate,
    context(shell, async () => ({})),
  );
  expect(passed).toBe(false);
  expect(failures[0]).toMatchObject({
    what: "write without core-2, the leader",
    evidence: expect.stringContaining("timed out"),
  });
});

const statuses = [2, 3, 4].map((index) => ({
  Endpoint: `https://10.103.0.${index}:2379`,
  Status: { header: { member_id: index }, leader: 3 },
}));

test.each([
  ["away for too long", { attempts: 90, failures: 60, longestMs: 6_100, answersAtEnd: true }],
  ["away to the end", { attempts: 90, failures: 60, longestMs: 4_000, answersAtEnd: false }],
  ["not lost at all: then nothing was proved", { attempts: 90, failures: 0, longestMs: 100, answersAtEnd: true }],
])("vip: an address that is %s fails it", async (_name, outage) => {
  const shell: Shell = async (node) => ({ status: 0, stdout: node === "edge-4" ? " 10.103.0.200/32" : "", stderr: "" });
  const ask: GateContext["observer"]["ask"] = async (_node, request) => {
    if (request.command === "scan") return [{ protocol: "tcp", address: "10.103.0.200", port: 2379, outcome: "open" }];
    return request.command === "outage" ? outage : {};
  };
  const { passed, failures } = await passes(vipGate, context(shell, ask));
  expect(passed).toBe(false);
  expect(failures).toHaveLength(1);
});

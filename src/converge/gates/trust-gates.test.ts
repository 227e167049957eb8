import { expect, test } from "vitest";
import type { EnrollmentFacts } from "../../../shared/agent-api.ts";
import type { EnrollList } from "../../../shared/enroll.ts";
import type { NodeFacts } from "../../../shared/events.ts";
import { fakeLayer, fakeObserver, healthyAgents } from "../../../tests/fakes/cluster.ts";
import { fakeSpec } from "../../../tests/fakes/spec.ts";
import { certificatesGate } from "./certificates.ts";
import { enrollmentGate } from "./enrollment.ts";
import type { GateContext } from "./types.ts";

const layer = fakeLayer();
const names = layer.nodes.map(({ name }) => name);

const { signal } = new AbortController();

function noShell(): never {
  throw new Error("these gates use no shell");
}

function contextOf(ask: GateContext["observer"]["ask"]): GateContext {
  const observer = { ...fakeObserver(layer, healthyAgents(layer, "")), ask };
  return { spec: fakeSpec(), layer, rootHash: "", sealedSubstrate: true, observer, shell: noShell, signal };
}

function factsWith(certificates: NodeFacts["certificates"]): NodeFacts {
  return { sealed: true, uptimeSeconds: 1, planes: [], certificates };
}

test("a certificate that is missing or out of date is named with its node and its end", async () => {
  const valid = (["agent", "etcd", "telemetry"] as const).map((purpose) => ({
    purpose,
    notBefore: "2026-01-01T00:00:00.000Z",
    notAfter: "2026-04-01T00:00:00.000Z",
    valid: true,
  }));
  const answers: Record<string, NodeFacts["certificates"]> = {
    "hub-1": valid,
    "core-1": valid.map((one) => (one.purpose === "etcd" ? { ...one, valid: false } : one)),
    "worker-1": valid.slice(0, 1),
  };
  const checks = await certificatesGate.run(contextOf(async (node) => factsWith(answers[node])));
  expect(checks).toHaveLength(9);
  expect(checks.filter((check) => !check.ok)).toEqual([
    {
      what: "core-1: etcd certificate",
      ok: false,
      evidence: "NOT VALID, from 2026-01-01T00:00:00.000Z to 2026-04-01T00:00:00.000Z",
    },
    { what: "worker-1: etcd certificate", ok: false, evidence: "the node has none" },
    { what: "worker-1: telemetry certificate", ok: false, evidence: "the node has none" },
  ]);
  const silent = await certificatesGate.run(contextOf(() => Promise.reject(new Error("no answer"))));
  expect(silent.every((check) => !check.ok && check.evidence === "no answer")).toBe(true);
});

const closed: EnrollList = { hub: "hub-1", mode: "join", nodes: [], audit: { lines: 7 } };
const enrolled: EnrollmentFacts = {
  accepted: names,
  waiting: [],
  rejected: [],
  denied: [],
  answering: names,
  enrollment: closed,
};

test("enrollment passes with every node known and answering, also when the last one is late", async () => {
  let asked = 0;
  const context = contextOf(async () => (asked++ === 0 ? { ...enrolled, answering: ["hub-1"] } : enrolled));
  const checks = await enrollmentGate.run(context);
  expect(checks.map(({ what, ok }) => [what, ok])).toEqual([
    ["hub-1: hub-1 is enrolled", true],
    ["hub-1: core-1 is enrolled", true],
    ["hub-1: worker-1 is enrolled", true],
    ["hub-1: no stranger", true],
    ["hub-1: enrollment is closed and logged", true],
  ]);
});

test("a window that is left open, and a log that was changed, fail it", async () => {
  const window = { openedAt: "T1", closesAt: "T2", by: "operator alice", approval: true };
  for (const [enrollment, evidence] of [
    [{ ...closed, window }, "A WINDOW IS OPEN, until T2, by operator alice, audit log of 7 lines"],
    [
      { ...closed, audit: { lines: 3, broken: "line 4 cannot be read" } },
      "no window is open, the audit log is not whole: line 4 cannot be read",
    ],
    [undefined, "kubedos-enroll.service does not run"],
  ] as const) {
    const facts = { ...enrolled, enrollment };
    const checks = await enrollmentGate.run({ ...contextOf(async () => facts), settleMs: -1 });
    expect(checks.filter((check) => !check.ok).map((check) => check.evidence)).toEqual([evidence]);
  }
});

test("a stranger in any state, and a node that is missing, fail it", async () => {
  const strange: EnrollmentFacts = {
    accepted: ["hub-1", "core-1", "spy"],
    waiting: ["late"],
    rejected: ["mallory"],
    denied: ["core-1"],
    answering: ["hub-1", "core-1", "spy"],
    enrollment: closed,
  };
  const checks = await enrollmentGate.run({ ...contextOf(async () => strange), settleMs: -1 });
  expect(checks.filter((check) => !check.ok)).toEqual([
    { what: "hub-1: worker-1 is enrolled", ok: false, evidence: "key not accepted, does not answer" },
    {
      what: "hub-1: no stranger",
      ok: false,
      evidence:
        "spy (accepted), late (waiting), mallory (rejected), core-1 (denied: another key than the cluster layer's)",
    },
  ]);
});

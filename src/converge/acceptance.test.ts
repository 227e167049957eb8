import { describe, expect, test } from "vitest";
import type { ScanResult, ScanTarget } from "../../shared/agent-api.ts";
import type { EventBody, NodeFacts } from "../../shared/events.ts";
import { fakeLayer, fakeObserver, healthyAgents, type FakeAgents } from "../../tests/fakes/cluster.ts";
import { fakeSpec } from "../../tests/fakes/spec.ts";
import type { GateName } from "../spec/types.ts";
import { runGates } from "./acceptance.ts";

const rootHash = "ab".repeat(32);

/** Runs one gate over a cluster that differs from a good one only as `change` says. */
async function gate(
  name: GateName,
  change: (agents: FakeAgents) => Partial<FakeAgents> = () => ({}),
  options: { layer?: ReturnType<typeof fakeLayer>; sealedSubstrate?: boolean; signal?: AbortSignal } = {},
) {
  const { layer = fakeLayer(), sealedSubstrate = true, signal = new AbortController().signal } = options;
  const spec = fakeSpec();
  spec.acceptance.gates = [name];
  const events: EventBody[] = [];
  const agents = healthyAgents(layer, rootHash);
  const observer = fakeObserver(layer, { ...agents, ...change(agents) });
  const [result] = await runGates(
    { spec, layer, rootHash, sealedSubstrate, observer, shell: noShell, signal },
    { emit: (event) => void events.push(event), signal, offline: true },
  );
  const { passed, checks } = result!;
  const failures = checks.filter(({ ok }) => !ok).map(({ what, evidence }) => `${what}: ${evidence}`);
  return { passed, checks, failures, event: events[0] };
}

function noShell(): never {
  throw new Error("these gates use no shell");
}

function throwing(): never {
  throw new Error("no answer within 30 s");
}

describe("fabric", () => {
  test("passes when every pair answers on every plane, both ways", async () => {
    const { passed, checks, event } = await gate("fabric");
    expect(passed).toBe(true);
    expect(checks).toHaveLength(3 * 2 * 2);
    expect(event).toMatchObject({ type: "gate.passed", gate: "fabric" });
  });

  test("a pair that does not answer fails it", async () => {
    const { passed, failures, event } = await gate("fabric", ({ fabric }) => ({
      fabric(node) {
        const { pairs } = fabric(node);
        const deaf = pairs.find(({ plane, peer }) => node === "core-1" && plane === "wg2" && peer === "hub-1");
        if (deaf !== undefined) deaf.received = 0;
        return { pairs };
      },
    }));
    expect(passed).toBe(false);
    expect(failures).toEqual([expect.stringMatching(/^core-1 to hub-1 on wg2: 0 of 3 answered/)]);
    expect(event).toMatchObject({ type: "gate.failed", summary: expect.stringContaining("core-1 to hub-1 on wg2") });
  });

  test("a pair that was not probed fails it", async () => {
    const { passed, failures } = await gate("fabric", ({ fabric }) => ({
      fabric: (node) => ({ pairs: fabric(node).pairs.filter(({ peer }) => node !== "hub-1" || peer !== "worker-1") }),
    }));
    expect(passed).toBe(false);
    expect(failures).toEqual(["hub-1 to worker-1 on wg1: not probed", "hub-1 to worker-1 on wg2: not probed"]);
  });

  test("an agent that does not answer fails it, the others are still checked", async () => {
    const { passed, failures, checks } = await gate("fabric", ({ fabric }) => ({
      fabric: (node) => (node === "core-1" ? throwing() : fabric(node)),
    }));
    expect(passed).toBe(false);
    expect(failures).toEqual(["core-1: pings: no answer within 30 s"]);
    expect(checks).toHaveLength(2 * 2 * 2 + 1);
  });

  test("an agent that answers nonsense fails it", async () => {
    expect((await gate("fabric", () => ({ fabric: () => ({}) as never }))).passed).toBe(false);
  });

  test("with nothing to check it has failed", async () => {
    const layer = fakeLayer();
    layer.nodes.splice(1);
    const { passed, event } = await gate("fabric", undefined, { layer });
    expect(passed).toBe(false);
    expect(event).toMatchObject({ type: "gate.failed", summary: "nothing was checked" });
  });
});

describe("sealed", () => {
  test("passes when every node is as manufactured", async () => {
    const { passed, checks } = await gate("sealed");
    expect(passed).toBe(true);
    expect(checks).toHaveLength(3 * 6);
  });

  test.each<[string, Partial<NodeFacts>]>([
    ["Secure Boot is off", { secureBoot: false }],
    ["Secure Boot could not be read", { secureBoot: undefined }],
    ["the firmware takes new keys", { setupMode: true }],
    ["the kernel is not locked down", { lockdown: "none" }],
    ["there is no TPM", { tpm: false }],
    ["the root is another one", { rootHash: "cd".repeat(32) }],
    ["there is no verity root", { rootHash: undefined }],
    ["the state is not encrypted", { state: "plain" }],
    ["the state is not mounted", { state: undefined }],
  ])("fails when on one node %s", async (_what, difference) => {
    const { passed, failures } = await gate("sealed", ({ facts }) => ({
      facts: (node) => ({ ...facts(node), ...(node === "worker-1" ? difference : {}) }),
    }));
    expect(passed).toBe(false);
    expect(failures).toEqual([expect.stringMatching(/^worker-1: /)]);
  });

  test("fails when a node does not answer", async () => {
    const { passed, failures } = await gate("sealed", ({ facts }) => ({
      facts: (node) => (node === "hub-1" ? throwing() : facts(node)),
    }));
    expect(passed).toBe(false);
    expect(failures).toEqual(["hub-1: facts: no answer within 30 s"]);
  });

  test("fails on a substrate that seals nothing, whatever the nodes say", async () => {
    expect((await gate("sealed", undefined, { sealedSubstrate: false })).passed).toBe(false);
  });
});

describe("firewall", () => {
  const at = (address: string, port: number) => (target: ScanTarget) =>
    target.protocol === "tcp" && target.address === address && target.port === port;
  const changed = (
    matches: (target: ScanTarget, node: string) => boolean,
    outcome: ScanResult["outcome"] | undefined,
  ) =>
    gate("firewall", ({ probe }) => ({
      probe: (node, target) => (matches(target, node) ? outcome : probe(node, target)),
    }));

  test("passes when open is what the spec opens, from two other nodes each, on every interface", async () => {
    const { passed, checks } = await gate("firewall");
    expect(passed).toBe(true);
    // The hub is scanned from one that is none; the others from the hub and from one that is none.
    expect(
      checks
        .map(({ what }) => what)
        .filter((what) => what.includes("on underlay"))
        .toSorted(),
    ).toEqual([
      "core-1 on underlay, from hub-1",
      "core-1 on underlay, from worker-1",
      "hub-1 on underlay, from core-1",
      "worker-1 on underlay, from core-1",
      "worker-1 on underlay, from hub-1",
    ]);
    expect(checks).toHaveLength(5 * 3);
  });

  test("a port that is open and not allowed fails it", async () => {
    const { passed, failures } = await changed(at("10.102.0.3", 22), "open");
    expect(passed).toBe(false);
    expect(failures[0]).toMatch(/^worker-1 on wg2, from hub-1: .*tcp\/22 is open, the spec does not open it/);
  });

  test("a port that is open for the hub only, and open for others, fails it", async () => {
    const { failures } = await changed((target, node) => node === "core-1" && at("10.102.0.3", 9100)(target), "open");
    expect(failures).toEqual([expect.stringMatching(/^worker-1 on wg2, from core-1: .*tcp\/9100 is open/)]);
  });

  test.each(["silent", "refused"] as const)("a port that is allowed and %s fails it", async (outcome) => {
    const { failures } = await changed(at("10.101.0.2", 22), outcome);
    expect(failures[0]).toContain(`core-1 on wg1, from hub-1: tcp/22 (ssh) is ${outcome}`);
  });

  test("the underlay must be silent: even a refusal fails it", async () => {
    const { failures } = await changed(at("10.100.0.11", 443), "refused");
    expect(failures).toEqual(["hub-1 on underlay, from core-1: tcp/443 answers (refused) on the underlay"]);
    expect((await changed(at("10.101.0.1", 443), "refused")).passed).toBe(true);
  });

  test("a port that was not scanned fails it", async () => {
    const { failures } = await changed(at("10.100.0.12", 6443), undefined);
    expect(failures[0]).toContain("core-1 on underlay, from hub-1: tcp/6443 was not scanned");
  });

  test("what listens anywhere is tried everywhere", async () => {
    const { failures } = await gate("firewall", ({ listening, probe }) => ({
      listening: (node) => [
        ...listening(node),
        ...(node === "hub-1" ? [{ protocol: "udp" as const, address: "0.0.0.0", port: 5353 }] : []),
      ],
      probe: (node, target) =>
        target.protocol === "udp" && target.port === 5353 && target.address === "10.100.0.13"
          ? "open"
          : probe(node, target),
    }));
    expect(failures).toEqual([
      expect.stringMatching(/^worker-1 on underlay, from hub-1: udp\/5353 is open/),
      expect.stringMatching(/^worker-1 on underlay, from core-1: udp\/5353 is open/),
    ]);
  });

  test.each(["listening", "probe"] as const)("an agent that does not answer (%s) fails it", async (agent) => {
    const { passed, failures } = await gate("firewall", () => ({ [agent]: throwing }));
    expect(passed).toBe(false);
    expect(failures.join()).toContain("no answer");
  });

  test("one node alone cannot be scanned: failed", async () => {
    const layer = fakeLayer();
    layer.nodes.splice(1);
    expect((await gate("firewall", undefined, { layer })).failures).toEqual(["scan: needs a second node to scan from"]);
  });
});

test("Ctrl-C in a gate ends the run, and is no failed gate", async () => {
  const abort = new AbortController();
  const run = gate(
    "firewall",
    () => ({
      listening() {
        abort.abort(new Error("interrupted by SIGINT"));
        return throwing();
      },
    }),
    { signal: abort.signal },
  );
  await expect(run).rejects.toThrow("interrupted by SIGINT");
});

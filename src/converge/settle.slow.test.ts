import { expect, test } from "vitest";
import { fakeLayer, fakeObserver, healthyAgents, type FakeAgents } from "../../tests/fakes/cluster.ts";
import type { Observer } from "./observe.ts";
import { waitForServices } from "./settle.ts";

const rootHash = "ab".repeat(32);

/** Waits over a cluster that differs from a good one as `change` says, at most a second; returns who was asked what. */
async function settle(change: (agents: FakeAgents) => Partial<FakeAgents>, observe: Partial<Observer> = {}) {
  const layer = fakeLayer();
  const agents = healthyAgents(layer, rootHash);
  const inner = fakeObserver(layer, { ...agents, ...change(agents) });
  const asked: string[] = [];
  const observer: Observer = {
    ...inner,
    ...observe,
    ask(node, request, timeoutMs) {
      asked.push(`${node} ${request.command}`);
      return inner.ask(node, request, timeoutMs);
    },
  };
  const context = { emit: () => undefined, signal: new AbortController().signal, offline: true };
  await waitForServices({ layer, sealedSubstrate: true, observer }, 1_000, context);
  return asked;
}

test("a settled cluster is asked once", async () => {
  const asked = await settle(() => ({}));
  expect(asked.filter((line) => line === "hub-1 facts")).toHaveLength(1);
});

test("a node without state is asked again until it has it; the others are not", async () => {
  let calls = 0;
  const asked = await settle(({ facts }) => ({
    facts: (node) => ({ ...facts(node), ...(node === "core-1" && ++calls < 2 ? { state: undefined } : {}) }),
  }));
  expect(asked.filter((line) => line === "core-1 facts")).toHaveLength(2);
  expect(asked.filter((line) => line === "hub-1 facts")).toHaveLength(1);
});

test("an opening that nothing listens on, or an agent that does not answer, is waited for to the limit", async () => {
  const silent = await settle(({ listening }) => ({ listening: (node) => (node === "hub-1" ? [] : listening(node)) }));
  expect(silent.filter((line) => line === "hub-1 listening").length).toBeGreaterThan(1);
  const throwing = await settle(({ facts }) => ({
    facts(node) {
      if (node === "worker-1") throw new Error("no answer");
      return facts(node);
    },
  }));
  expect(throwing.filter((line) => line === "worker-1 facts").length).toBeGreaterThan(1);
});

test("a node that has failed is not waited for", async () => {
  const nodes: Observer["nodes"] = () => [{ node: "hub-1", phase: "failed", refused: [], reachedSeconds: {} }];
  const asked = await settle(({ facts }) => ({ facts: (node) => ({ ...facts(node), state: undefined }) }), { nodes });
  expect(asked).not.toContain("hub-1 facts");
});

import { describe, expect, test } from "vitest";
import type { EventBody } from "../../shared/events.ts";
import { fakeSpec } from "../../tests/fakes/spec.ts";
import { fakeSubstrate, type FakeSubstrate } from "../../tests/fakes/substrate.ts";
import { specPaths } from "../host/paths.ts";
import type { Lab } from "../substrates/types.ts";
import { observe, waitForFabric } from "./observe.ts";

const spec = fakeSpec();
const names = spec.nodes.map(({ name }) => name);
const lab: Lab = { spec, paths: specPaths("/nowhere/example.yaml"), artifacts: { hash: "", layer: "" } };

function observed(signal = new AbortController().signal) {
  const events: EventBody[] = [];
  const context = { emit: (event: EventBody) => void events.push(event), signal, offline: true };
  const substrate = fakeSubstrate(names);
  const observer = observe(substrate, lab, context);
  const wait = (seconds = 30) => waitForFabric(observer, substrate, lab, seconds, context);
  return { events, substrate, observer, wait };
}

function reach(substrate: FakeSubstrate, phase: string, nodes: readonly string[] = names): void {
  for (const node of nodes) substrate.say(node, { type: "node.phase", phase, uptimeSeconds: 12 });
}

/** Answers a request for the fabric: those peers are silent on every plane. */
function silence(substrate: FakeSubstrate, silent: Record<string, readonly string[]>): void {
  substrate.onRequest = (node, { id }) => {
    const pairs = spec.planes.flatMap(({ name: plane }) =>
      names
        .filter((peer) => peer !== node)
        .map((peer) => ({ plane, peer, received: silent[node]!.includes(peer) ? 0 : 1 })),
    );
    substrate.say(node, { type: "node.reply", id, ok: true, data: { pairs } });
  };
}

describe("wait for the fabric", () => {
  test("ends when every node has it, or has gone past it", async () => {
    const { substrate, observer, wait, events } = observed();
    reach(substrate, "planes");
    reach(substrate, "fabric", names.slice(1));
    reach(substrate, "ready", names.slice(0, 1));
    expect(await wait()).toEqual([]);
    expect(observer.nodes()[0]).toMatchObject({ phase: "ready", reachedSeconds: { planes: 12, ready: 12 } });
    expect(events.filter(({ type }) => type === "node.phase")).toHaveLength(6);
  });

  test("a node that fails is lost with its reason; the others are waited for", async () => {
    const { substrate, wait } = observed();
    substrate.say("core-1", { type: "node.phase", phase: "failed", note: "the seed is of another cluster" });
    silence(substrate, { "hub-1": ["worker-1"], "worker-1": ["hub-1"] });
    reach(substrate, "planes", ["hub-1", "worker-1"]);
    setTimeout(() => reach(substrate, "fabric", ["hub-1", "worker-1"]), 50);
    expect(await wait()).toEqual([{ node: "core-1", reason: "the seed is of another cluster" }]);
  });

  test.each(["stopped", "absent"] as const)("a machine that is %s is lost", async (state) => {
    const { substrate, wait } = observed();
    substrate.machines["worker-1"] = state;
    reach(substrate, "fabric", ["hub-1", "core-1"]);
    expect(await wait()).toEqual([{ node: "worker-1", reason: `its machine is ${state}` }]);
  });

  test("a machine that ended is lost, although its node had got there", async () => {
    const { substrate, wait } = observed();
    reach(substrate, "fabric");
    substrate.machines["hub-1"] = "stopped";
    expect(await wait()).toEqual([{ node: "hub-1", reason: "its machine is stopped" }]);
  });

  test("a node that powers off is not at its goal", async () => {
    const { substrate, wait } = observed();
    reach(substrate, "fabric");
    reach(substrate, "stopped", ["hub-1"]);
    expect(await wait(0)).toEqual([{ node: "hub-1", reason: expect.stringContaining("still at phase stopped") }]);
  });

  test("the time limit names who is missing, and where it is", async () => {
    const { substrate, wait } = observed();
    reach(substrate, "fabric", ["hub-1", "worker-1"]);
    reach(substrate, "sealed", ["core-1"]);
    expect(await wait(0)).toEqual([{ node: "core-1", reason: "still at phase sealed after 0 s, waiting for fabric" }]);
  });

  test("nodes that miss nobody but a lost one are not waited for", async () => {
    const { substrate, wait } = observed();
    reach(substrate, "planes");
    substrate.machines["worker-1"] = "stopped";
    silence(substrate, { "hub-1": ["worker-1"], "core-1": ["worker-1"] });
    expect(await wait()).toEqual([{ node: "worker-1", reason: "its machine is stopped" }]);
  });

  test("a node that runs and that nobody hears is named, and not the others", async () => {
    const { substrate, wait } = observed();
    reach(substrate, "planes");
    silence(substrate, { "hub-1": ["core-1"], "core-1": ["hub-1", "worker-1"], "worker-1": ["core-1"] });
    const reason = expect.stringMatching(/^no packets between it and hub-1, worker-1 on wg1, /) as unknown;
    expect(await wait(0)).toEqual([{ node: "core-1", reason }]);
  });

  test("of two that miss each other both are named", async () => {
    const { substrate, wait } = observed();
    reach(substrate, "planes");
    silence(substrate, { "hub-1": [], "core-1": ["worker-1"], "worker-1": ["core-1"] });
    expect((await wait(0)).map(({ node }) => node)).toEqual(["core-1", "worker-1"]);
  });

  test("Ctrl-C ends it", async () => {
    const abort = new AbortController();
    const { wait } = observed(abort.signal);
    setTimeout(() => abort.abort(new Error("interrupted")), 20);
    await expect(wait()).rejects.toThrow("interrupted");
  });
});

describe("ask", () => {
  test("the answer is the reply with the request's id, whatever comes before it", async () => {
    const { substrate, observer } = observed();
    substrate.onRequest = (node, { id }) => {
      substrate.say(node, { type: "node.reply", id: "other", ok: true, data: "wrong" });
      substrate.say(node, { type: "node.reply", id, ok: true, data: ["right"] });
    };
    expect(await observer.ask("hub-1", { command: "listening" }, 1000)).toEqual(["right"]);
  });

  test("requests to several nodes at once each get their own", async () => {
    const { substrate, observer } = observed();
    substrate.onRequest = (node, { id }) => substrate.say(node, { type: "node.reply", id, ok: true, data: node });
    expect(await Promise.all(names.map((node) => observer.ask(node, { command: "facts" }, 1000)))).toEqual(names);
  });

  test("a refusal is an error with the agent's words", async () => {
    const { substrate, observer } = observed();
    substrate.onRequest = (node, { id }) =>
      substrate.say(node, { type: "node.reply", id, ok: false, error: "ping: not found" });
    await expect(observer.ask("hub-1", { command: "fabric", count: 1 }, 1000)).rejects.toThrow(
      "hub-1: the agent refused `fabric`: ping: not found",
    );
  });

  test("silence is an error that says where to look", async () => {
    const { observer } = observed();
    await expect(observer.ask("core-1", { command: "facts" }, 0)).rejects.toMatchObject({
      message: "core-1: no answer to `facts` within 0 s",
      hint: expect.stringContaining("kubedos console core-1"),
    });
  });

  test("facts on the way are kept", async () => {
    const { substrate, observer } = observed();
    substrate.say("hub-1", { type: "node.facts", facts: { kernel: "6.12" } });
    await observer.poll();
    expect(observer.nodes()[0]!.facts).toEqual({ kernel: "6.12" });
  });
});

test("many who look at once take each event once", async () => {
  const { substrate, observer, events } = observed();
  reach(substrate, "planes");
  await Promise.all([observer.poll(), observer.poll(), observer.poll()]);
  expect(events.filter(({ type }) => type === "node.phase")).toHaveLength(names.length);
});

describe("the convergence", () => {
  const begin = { type: "converge.started", run: "1", stages: ["fabric", "baseline"], nodes: names, check: false };
  const result = { ok: 2, changed: 1, failed: 0, unreachable: 0, skipped: 0, seconds: 1.5 };

  test("is what a hub says of it: stages, nodes, outcome", async () => {
    const { substrate, observer } = observed();
    expect(observer.convergence()).toBeUndefined();
    substrate.say("hub-1", begin, {
      type: "converge.stage",
      run: "1",
      stage: "baseline",
      status: "running",
      changed: 0,
    });
    substrate.say("hub-1", { type: "converge.node", run: "1", stage: "baseline", node: "core-1", result });
    await observer.poll();
    expect(observer.convergence()).toMatchObject({
      outcome: "running",
      stages: [
        { stage: "fabric", status: "waiting" },
        { stage: "baseline", status: "running", nodes: { "core-1": result } },
      ],
    });
    substrate.say("hub-1", { type: "converge.done", run: "0", outcome: "failed", seconds: 1, changed: 0, lost: [] });
    substrate.say("hub-1", { type: "converge.done", run: "1", outcome: "passed", seconds: 9, changed: 1, lost: [] });
    await observer.poll();
    expect(observer.convergence()).toMatchObject({ outcome: "passed", seconds: 9, changed: 1 });
  });

  test("no other node has a say in it", async () => {
    const { substrate, observer } = observed();
    substrate.say("worker-1", begin);
    await observer.poll();
    expect(observer.convergence()).toBeUndefined();
  });
});

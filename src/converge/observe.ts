import { KubedosError } from "../../shared/error.ts";
import type { AgentRequest, FabricProbe } from "../../shared/agent-api.ts";
import {
  nodePhases,
  type KubedosEvent,
  type NodeFacts,
  type NodePhase,
  type RefusalReason,
} from "../../shared/events.ts";
import { delay, nowMs } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import type { Lab, Substrate } from "../substrates/types.ts";
import { blame, silentPairs } from "./absent.ts";
import { foldProgress, type ConvergenceProgress } from "./progress.ts";

/** What has been seen of one node. */
export interface ObservedNode {
  node: string;
  phase: NodePhase;
  note?: string;
  facts?: NodeFacts;
  /** Whose Salt keys this hub has not taken. */
  refused: { name: string; reason: RefusalReason; fingerprint: string }[];
  /** Uptime in seconds at which each phase was reached, by the node's own clock. */
  reachedSeconds: Partial<Record<NodePhase, number>>;
}

type Request = AgentRequest extends infer R ? (R extends AgentRequest ? Omit<R, "id"> : never) : never;

/** Reads the nodes' event logs and asks their agents. */
export interface Observer {
  nodes(): ObservedNode[];
  /** The last convergence that a hub has told of; absent: none has begun. */
  convergence(): ConvergenceProgress | undefined;
  /** Reads what is new. */
  poll(): Promise<void>;
  /** Sends one request and waits for its answer. */
  ask(node: string, request: Request, timeoutMs: number): Promise<unknown>;
}

const pollMs = 200;

export function observe(substrate: Substrate, lab: Lab, context: RunContext): Observer {
  const seen = new Map<string, ObservedNode>(
    lab.spec.nodes.map(({ name }) => [name, { node: name, phase: "defined", refused: [], reachedSeconds: {} }]),
  );
  const hubs = new Set(lab.spec.nodes.filter(({ roles }) => roles.includes("hub")).map(({ name }) => name));
  const offsets = new Map<string, number>();
  const replies = new Map<string, KubedosEvent & { type: "node.reply" }>();
  let counter = 0;
  let progress: ConvergenceProgress | undefined;

  const take = (node: ObservedNode, event: KubedosEvent) => {
    if (event.type === "node.reply") replies.set(event.id, event);
    if (event.type === "node.facts") node.facts = event.facts;
    if (event.type.startsWith("converge.") && hubs.has(node.node)) {
      progress = foldProgress(progress, event);
      context.emit(event);
    }
    if (event.type === "enroll.refused") {
      const { name, reason, fingerprint } = event;
      node.refused.push({ name, reason, fingerprint });
      context.emit({ ...event, node: node.node });
    }
    if (event.type !== "node.phase") return;
    node.phase = event.phase;
    node.note = event.note;
    node.reachedSeconds[event.phase] ??= event.uptimeSeconds;
    context.emit({ ...event, node: node.node });
  };

  const readNew = async () => {
    for (const node of seen.values()) {
      const { events, offset } = await substrate.events(lab, node.node, offsets.get(node.node) ?? 0);
      offsets.set(node.node, offset);
      for (const event of events) take(node, event);
    }
  };
  // Gates ask many nodes at once: two that read at the same time would each take the same events.
  let reading: Promise<void> | undefined;
  const poll = () => (reading ??= readNew().finally(() => (reading = undefined)));

  const ask = async (node: string, request: Request, timeoutMs: number) => {
    const id = `${process.pid}-${nowMs()}-${++counter}`;
    await substrate.request(lab, node, { ...request, id });
    const deadline = nowMs() + timeoutMs;
    for (;;) {
      await poll();
      const reply = replies.get(id);
      if (reply?.ok === true) return reply.data;
      if (reply !== undefined) {
        throw new KubedosError(
          "failed",
          `${node}: the agent refused \`${request.command}\`: ${reply.error ?? "no reason given"}`,
        );
      }
      if (nowMs() > deadline) {
        throw new KubedosError("failed", `${node}: no answer to \`${request.command}\` within ${timeoutMs / 1000} s`, {
          hint: `look at its console: kubedos console ${node}`,
        });
      }
      await delay(pollMs, context.signal);
    }
  };
  return { nodes: () => [...seen.values()], convergence: () => progress, poll, ask };
}

const probeEveryMs = 5_000;
const probeTimeoutMs = 15_000;

/**
 * Waits until every node has seen all its peers on every plane. A node that reports `failed`, or whose machine is gone,
 * is lost; the others are waited for until they miss nobody but those. Returns the nodes that did not make it, with the
 * reason.
 */
export async function waitForFabric(
  observer: Observer,
  substrate: Substrate,
  lab: Lab,
  timeoutSeconds: number,
  context: RunContext,
): Promise<{ node: string; reason: string }[]> {
  const goal = nodePhases.indexOf("fabric");
  const deadline = nowMs() + timeoutSeconds * 1000;
  let nextProbe = 0;
  for (;;) {
    // 1. Who is there, who is lost, who may still come.
    await observer.poll();
    const machines = new Map((await substrate.status(lab)).map((machine) => [machine.node, machine.state]));
    const lost = new Map<string, string>();
    const pending: ObservedNode[] = [];
    for (const node of observer.nodes()) {
      const machine = machines.get(node.node) ?? "absent";
      if (node.phase === "failed") lost.set(node.node, node.note ?? "the node reports a failure");
      else if (machine !== "running") lost.set(node.node, `its machine is ${machine}`);
      else if (nodePhases.indexOf(node.phase) < goal || node.phase === "stopped") pending.push(node);
    }
    const late = nowMs() > deadline;
    const isUp = (node: ObservedNode) => node.phase === "planes";
    const mayEnd = lost.size > 0 && pending.every(isUp) && nowMs() >= nextProbe;
    if (pending.length > 0 && !late && !mayEnd) {
      await delay(pollMs, context.signal);
      continue;
    }
    // 2. Those that miss only a lost node are there.
    for (const { node, phase } of pending.filter((one) => !isUp(one))) {
      if (late) lost.set(node, `still at phase ${phase} after ${timeoutSeconds} s, waiting for fabric`);
    }
    const silent = await probe(pending.filter(isUp), observer, lab, context);
    for (const [node, pairs] of silent) {
      if (pairs === undefined && late) lost.set(node, `it does not answer ${timeoutSeconds} s after its start`);
    }
    const blamed = blame(
      [...silent.values()].flatMap((pairs) => pairs ?? []),
      new Set(lost.keys()),
    );
    const whole = pending.every(({ node }) => silent.get(node) !== undefined) && blamed.size === 0;
    if (late || whole) {
      return [...lost, ...blamed].map(([node, reason]) => ({ node, reason }));
    }
    nextProbe = nowMs() + probeEveryMs;
  }
}

/** Asks nodes which of their peers are silent; undefined: the node did not say. */
async function probe(nodes: readonly ObservedNode[], observer: Observer, lab: Lab, context: RunContext) {
  const answers = nodes.map(async ({ node }) => {
    const answer = await observer.ask(node, { command: "fabric", count: 2 }, probeTimeoutMs).catch(() => undefined);
    context.signal.throwIfAborted();
    return [node, answer === undefined ? undefined : silentPairs(lab.spec, node, answer as FabricProbe)] as const;
  });
  return new Map(await Promise.all(answers));
}

import type { ListeningSocket } from "../../shared/agent-api.ts";
import type { NodeFacts } from "../../shared/events.ts";
import { delay, nowMs } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import type { GateContext } from "./gates/types.ts";

const askTimeoutMs = 30_000;
const pollMs = 500;

/**
 * Planes are up before /var is, and services start when it is. Waits until each node has its state and listens on what
 * the layer opens, at most `limitMs`: then the gates say what is missing.
 */
export async function waitForServices(
  gateContext: Pick<GateContext, "layer" | "observer" | "sealedSubstrate">,
  limitMs: number,
  context: RunContext,
): Promise<void> {
  const deadline = nowMs() + limitMs;
  let waiting = gateContext.layer.nodes;
  for (;;) {
    const settled = await Promise.all(waiting.map((node) => isSettled(gateContext, node).catch(() => false)));
    waiting = waiting.filter((_node, index) => !settled[index]);
    if (waiting.length === 0 || nowMs() > deadline) return;
    await delay(pollMs, context.signal);
  }
}

async function isSettled(
  { layer, observer, sealedSubstrate }: Pick<GateContext, "layer" | "observer" | "sealedSubstrate">,
  { name, roles }: GateContext["layer"]["nodes"][number],
): Promise<boolean> {
  if (observer.nodes().some((node) => node.node === name && node.phase === "failed")) return true;
  if (sealedSubstrate) {
    const facts = (await observer.ask(name, { command: "facts" }, askTimeoutMs)) as NodeFacts;
    if (facts.state === undefined) return false;
  }
  const sockets = (await observer.ask(name, { command: "listening" }, askTimeoutMs)) as ListeningSocket[];
  return layer.openings
    .filter((opening) => opening.protocol === "tcp")
    .filter((opening) => opening.roles === undefined || opening.roles.some((role) => roles.includes(role)))
    .every(({ port }) => sockets.some((socket) => socket.protocol === "tcp" && socket.port === port));
}

import type { ListeningSocket } from "../../shared/agent-api.ts";
import type { NodeFacts } from "../../shared/events.ts";
import { delay, nowMs } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import type { GateContext } from "./gates/types.ts";

const askTimeoutMs = 30_000;
const pollMs = 500;
const longestPollMs = 5_000;

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
    const started = nowMs();
    const settled = await Promise.all(waiting.map((node) => isSettled(gateContext, node).catch(() => false)));
    waiting = waiting.filter((_node, index) => !settled[index]);
    if (waiting.length === 0 || nowMs() > deadline) return;
    // An answer costs a slow machine time that its services start in: the slower it is, the less often it is asked.
    await delay(Math.min(longestPollMs, Math.max(pollMs, 2 * (nowMs() - started))), context.signal);
  }
}

async function isSettled(
  { layer, observer, sealedSubstrate }: Pick<GateContext, "layer" | "observer" | "sealedSubstrate">,
  { name, roles }: GateContext["layer"]["nodes"][number],
): Promise<boolean> {
  if (observer.nodes().some((node) => node.node === name && node.phase === "failed")) return true;
  const sockets = (await observer.ask(name, { command: "listening" }, askTimeoutMs)) as ListeningSocket[];
  const listens = layer.openings
    .filter((opening) => opening.protocol === "tcp")
    .filter((opening) => opening.roles === undefined || opening.roles.some((role) => roles.includes(role)))
    .every(({ port }) => sockets.some((socket) => socket.protocol === "tcp" && socket.port === port));
  if (!listens || !sealedSubstrate) return listens;
  // Asked last: it takes the node more work than its sockets.
  return ((await observer.ask(name, { command: "facts" }, askTimeoutMs)) as NodeFacts).state !== undefined;
}

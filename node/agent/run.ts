import type { AgentRequest } from "../../shared/agent-api.ts";
import type { NodePhase } from "../../shared/events.ts";
import { controlPlane, isHub, planeAddress } from "../../shared/render/peers.ts";
import { relayConvergence } from "./automation.ts";
import { serveControl } from "./control.ts";
import { enrollmentFacts, isSaltMaster, watchRefusals } from "./enrollment.ts";
import type { EventLog } from "./events.ts";
import { exec } from "./exec.ts";
import { pairsOf, ping, probeFabric } from "./fabric.ts";
import { nodeFacts, uptimeSeconds } from "./facts.ts";
import { serveStatus } from "./http.ts";
import type { Identity } from "./identity.ts";
import { isolate } from "./isolate.ts";
import { listeningSockets } from "./listening.ts";
import { keepMetrics } from "./metrics.ts";
import { measureOutage } from "./outage.ts";
import type { NodePaths } from "./paths.ts";
import { wakeSilentPeers } from "./peers.ts";
import { missingPlanes } from "./planes.ts";
import { parseRequest } from "./request.ts";
import { scan } from "./scan.ts";
import { messageOf, readText, sleep } from "./text.ts";
import { followVip } from "./vip.ts";

const firstPollMs = 200;
const slowestPollMs = 2_000;
const complainAfterMs = 30_000;
const factsEveryMs = 30_000;
/** It goes on without the peers that have not answered by then. */
const aloneAfterMs = 30_000;
const mostRequests = 16;
const stateEveryMs = 500;

/** The agent's life after rendering: it answers requests, follows the planes up, then reports facts. Does not end. */
export async function runAgent(paths: NodePaths, identity: Identity, log: EventLog): Promise<void> {
  const { node, layer } = identity;
  let phase: NodePhase = "rendered";

  function enter(next: NodePhase): void {
    phase = next;
    const uptime = uptimeSeconds(paths, identity.container);
    log.emit({ type: "node.phase", node: node.name, phase: next, uptimeSeconds: uptime });
  }
  async function reportFacts(): Promise<void> {
    log.emit({ type: "node.facts", node: node.name, facts: await nodeFacts(paths, identity) });
  }
  async function status() {
    return { node: node.name, cluster: layer.cluster, phase, facts: await nodeFacts(paths, identity) };
  }

  enter("rendered");
  void followState(paths, identity, log);
  serveControl(paths, log.emit, requestHandler(paths, identity, log)).catch((error: unknown) => {
    log.emit({ type: "log", level: "error", message: `the control port cannot be served: ${messageOf(error)}` });
  });
  if (layer.features.includes("ansible") && isHub(node)) {
    relayConvergence(paths, log.emit).catch((error: unknown) => {
      log.emit({ type: "log", level: "error", message: `the convergence is not reported: ${messageOf(error)}` });
    });
  }
  await waitForPlanes(identity, log);
  enter("planes");
  void keepServing("the virtual address is not followed", () => followVip(identity, log), log);
  void keepMetrics(paths, identity, log);
  void wakeSilentPeers(identity, log);
  const whole = waitForFabric(identity, log).then(() => enter("fabric"));
  // A peer that does not come must not keep the others from what they do.
  await Promise.race([whole, sleep(aloneAfterMs)]);
  await reportFacts();
  if (isSaltMaster(identity)) void watchRefusals(paths, identity, log.emit);
  const control = controlPlane(layer);
  const serve = () => serveStatus(paths, layer, planeAddress(control, node), status);
  void keepServing("the status is not served", serve, log);
  for (;;) {
    await sleep(factsEveryMs);
    await reportFacts();
  }
}

/** Passes on why the machine stops, where its state partition cannot be used; ends when it is in use. */
async function followState(paths: NodePaths, { node, container }: Identity, log: EventLog): Promise<void> {
  if (container) return;
  while (readText(paths.state) === undefined) {
    const reason = readText(paths.stopped);
    if (reason !== undefined) {
      log.emit({ type: "node.phase", node: node.name, phase: "failed", note: reason });
      return;
    }
    await sleep(stateEveryMs);
  }
}

/** Answers one line of the control port with a `node.reply` event. Never throws. */
export function requestHandler(paths: NodePaths, identity: Identity, log: EventLog): (line: string) => void {
  const { name } = identity.node;
  let running = 0;

  function reply(id: string, result: { ok: true; data: unknown } | { ok: false; error: string }): void {
    log.emit({ type: "node.reply", node: name, id, ...result });
  }
  return (line) => {
    const parsed = parseRequest(line);
    if (!parsed.ok) return reply(parsed.id, { ok: false, error: parsed.error });
    const { request } = parsed;
    if (running >= mostRequests) return reply(request.id, { ok: false, error: "too many requests at once" });
    running += 1;
    answer(paths, identity, request)
      .then(
        (data) => reply(request.id, { ok: true, data }),
        (error: unknown) => reply(request.id, { ok: false, error: messageOf(error) }),
      )
      .finally(() => (running -= 1));
  };
}

async function answer(paths: NodePaths, identity: Identity, request: AgentRequest): Promise<unknown> {
  switch (request.command) {
    case "enrollment":
      return enrollmentFacts(paths, identity);
    case "facts":
      return nodeFacts(paths, identity);
    case "fabric":
      return probeFabric(identity, request.count);
    case "listening":
      return listeningSockets();
    case "scan":
      return scan(request.targets, request.timeoutMs);
    case "isolate": {
      if (!identity.layer.planes.some((plane) => plane.name === request.plane)) {
        throw new Error(`there is no plane ${request.plane}`);
      }
      await isolate(request.plane, request.seconds);
      return {};
    }
    case "outage":
      return measureOutage(request.target, request.durationMs, request.everyMs);
    case "poweroff": {
      const { status, stderr } = await exec("systemctl", ["poweroff", "--no-block"]);
      if (status !== 0) throw new Error(stderr.trim());
      return {};
    }
  }
}

async function waitForPlanes(identity: Identity, log: EventLog): Promise<void> {
  const pace = pacer(log);
  for (;;) {
    const missing = missingPlanes(identity);
    if (missing.length === 0) return;
    await pace(() => `planes that are not up: ${missing.join(", ")}`);
  }
}

async function waitForFabric(identity: Identity, log: EventLog): Promise<void> {
  const pace = pacer(log);
  let pending = pairsOf(identity, true);
  for (;;) {
    let problem = "";
    try {
      const answers = await ping(
        pending.map((pair) => pair.address),
        1,
      );
      pending = pending.filter((pair) => !answers.get(pair.address)?.some((time) => time !== undefined));
    } catch (error) {
      problem = `: ${messageOf(error)}`;
    }
    if (pending.length === 0) return;
    const some = pending.slice(0, 8).map((pair) => `${pair.peer} on ${pair.plane}`);
    await pace(() => `${pending.length} peers have not answered, among them ${some.join(", ")}${problem}`);
  }
}

/** Waits a little longer every time, and says every 30 s what is waited for. */
function pacer(log: EventLog): (what: () => string) => Promise<void> {
  let waitMs = firstPollMs;
  let complaint = Date.now() + complainAfterMs;
  return async (what) => {
    if (Date.now() >= complaint) {
      log.emit({ type: "log", level: "warn", message: what() });
      complaint = Date.now() + complainAfterMs;
    }
    await sleep(waitMs);
    waitMs = Math.min(waitMs * 1.3, slowestPollMs);
  };
}

/** Tries to serve until it works, and says once why it does not. */
async function keepServing(what: string, serve: () => Promise<void>, log: EventLog): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await serve();
    } catch (error) {
      if (attempt === 1) {
        log.emit({ type: "log", level: "warn", message: `${what}: ${messageOf(error)}` });
      }
      await sleep(5_000);
    }
  }
}

import type { Outage, ScanResult, ScanTarget } from "../../../shared/agent-api.ts";
import type { LayerEdge, LayerNode } from "../../../shared/cluster-layer.ts";
import { delay } from "../../host/clock.ts";
import { poll } from "./poll.ts";
import type { Gate, GateCheck, GateContext } from "./types.ts";

const startLimitSeconds = 60;
const mostMs = 5_000;
const watchMs = 14_000;
const cutSeconds = 9;

/**
 * One edge node holds the virtual address and every other node reaches its services; then the holder is cut off from
 * the plane as if it had died, and they are reached again within five seconds.
 */
export const vipGate: Gate = {
  name: "vip",
  summary: "one node holds the virtual address, and it moves in under 5 s when that node is lost",
  async run(context) {
    const { layer, observer } = context;
    const { edge } = layer;
    const edges = layer.nodes.filter((node) => node.roles.includes("edge"));
    const clients = layer.nodes.filter((node) => !node.roles.includes("edge"));
    const [service] = edge?.services ?? [];
    const [prober] = clients;
    if (edge === undefined || service === undefined || prober === undefined) {
      return [{ what: "virtual address", ok: false, evidence: "needs a service behind it and a node that is no edge" }];
    }
    // 1. One holder, reached from everywhere.
    const holders = await oneHolder(context, edge, edges);
    const checks: GateCheck[] = [one(edge, holders)];
    checks.push(...(await reached(context, edge, clients)));
    const [holder] = holders;
    if (holder === undefined || checks.some(({ ok }) => !ok)) return checks;
    // 2. The holder is lost while a client goes on asking.
    const target: ScanTarget = { protocol: "tcp", address: edge.vip, port: service.port };
    const watching = observer.ask(
      prober.name,
      { command: "outage", target, durationMs: watchMs, everyMs: 100 },
      watchMs + 30_000,
    ) as Promise<Outage>;
    await delay(1_000, context.signal);
    await observer.ask(holder.name, { command: "isolate", plane: edge.plane, seconds: cutSeconds }, 30_000);
    const { longestMs, answersAtEnd, attempts, failures } = await watching;
    checks.push({
      what: `${edge.vip}:${service.port} from ${prober.name} when ${holder.name} is lost`,
      ok: failures > 0 && answersAtEnd && longestMs < mostMs,
      evidence:
        failures === 0
          ? "no request was affected: nothing moved"
          : `away for ${(longestMs / 1000).toFixed(1)} s (${failures} of ${attempts} requests failed)`,
    });
    // 3. Afterwards there is one holder again, and only one.
    checks.push({ ...one(edge, await oneHolder(context, edge, edges)), what: "one holder again" });
    checks.push(
      ...(await reached(context, edge, clients)).map((check) => ({ ...check, what: `${check.what}, again` })),
    );
    return checks;
  },
};

function oneHolder(context: GateContext, { plane, vip }: LayerEdge, edges: readonly LayerNode[]): Promise<LayerNode[]> {
  return poll(
    context,
    startLimitSeconds,
    async () => {
      const shown = await Promise.all(
        edges.map((node) => context.shell(node.name, ["ip", "-4", "-o", "address", "show", "dev", plane])),
      );
      return edges.filter((_, i) => shown[i]!.stdout.includes(` ${vip}/`));
    },
    (holders) => holders.length === 1,
  );
}

function one({ vip }: LayerEdge, holders: readonly LayerNode[]): GateCheck {
  const evidence = `${vip} is held by ${holders.map((node) => node.name).join(" and ") || "nobody"}`;
  return { what: "one holder", ok: holders.length === 1, evidence };
}

async function reached(context: GateContext, edge: LayerEdge, clients: readonly LayerNode[]): Promise<GateCheck[]> {
  const targets = edge.services.map(({ port }) => ({ protocol: "tcp" as const, address: edge.vip, port }));
  const checks = await Promise.all(
    clients.map(async (client) => {
      const results = await poll(
        context,
        startLimitSeconds / 2,
        () => context.observer.ask(client.name, { command: "scan", targets, timeoutMs: 1_500 }, 30_000),
        (seen) => (seen as ScanResult[]).every(({ outcome }) => outcome === "open"),
      );
      return (results as ScanResult[]).map(({ port, outcome }, i) => ({
        what: `${edge.services[i]?.name ?? port} at ${edge.vip}:${port} from ${client.name}`,
        ok: outcome === "open",
        evidence: outcome,
      }));
    }),
  );
  return checks.flat();
}

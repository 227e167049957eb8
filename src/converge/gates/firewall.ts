import type { ListeningSocket, ScanResult, ScanTarget } from "../../../shared/agent-api.ts";
import type { ClusterLayer, LayerNode, LayerOpening } from "../../../shared/cluster-layer.ts";
import { planeAddress } from "../../../shared/render/peers.ts";
import type { Gate, GateCheck, GateContext } from "./types.ts";

const listenTimeoutMs = 30_000;
const scanTimeoutMs = 120_000;
const probeTimeoutMs = 1_500;
/** For what should have answered: a busy machine may take longer than anybody waits for silence. */
const secondTimeoutMs = 10_000;

/** Ports that are tried on every interface although nothing is known to listen: what attackers try first. */
const usualPorts = [21, 22, 23, 25, 53, 80, 111, 443, 2379, 2380, 4505, 4506, 5355, 6443, 8080, 9090, 9100, 10250];

/** A scan from other nodes finds open what the spec opens, and nothing else, on every interface. */
export const firewallGate: Gate = {
  name: "firewall",
  summary: "other nodes reach what the spec opens and nothing else, on every interface",
  async run(context) {
    const { layer } = context;
    if (layer.nodes.length < 2) return [{ what: "scan", ok: false, evidence: "needs a second node to scan from" }];
    // Each node is scanned from a hub and from a node that is none, where there are such.
    return scanMatrix(context, (scanner) => layer.nodes.filter((node) => scannersOf(node, layer).includes(scanner)));
  },
};

/** Scans from every node those that `targetsOf` names: every port that is known, opened or usual, on every interface. */
export async function scanMatrix(
  context: GateContext,
  targetsOf: (scanner: LayerNode) => readonly LayerNode[],
): Promise<GateCheck[]> {
  const { layer, observer } = context;
  // 1. What listens anywhere: each such port is tried on every interface of every node.
  const listening = new Map<string, ListeningSocket[]>();
  await Promise.all(
    layer.nodes.map(async ({ name }) => {
      listening.set(name, (await observer.ask(name, { command: "listening" }, listenTimeoutMs)) as ListeningSocket[]);
    }),
  );
  const known = [...listening.values()].flat().map(({ protocol, port }) => ({ protocol, port }));
  const opened = layer.openings.map(({ protocol, port }) => ({ protocol, port }));
  const usual = usualPorts.map((port) => ({ protocol: "tcp" as const, port }));
  const ports = unique([...known, ...opened, ...usual]);
  // 2. The scans, side by side.
  const checks = await Promise.all(
    layer.nodes.map(async (scanner) => {
      const targets = targetsOf(scanner);
      return targets.length === 0 ? [] : scanFrom(scanner, targets, ports, listening, context);
    }),
  );
  return checks.flat();
}

function scannersOf(target: LayerNode, layer: ClusterLayer): LayerNode[] {
  const others = layer.nodes.filter((node) => node !== target);
  const hub = others.find((node) => node.roles.includes("hub"));
  const plain = others.find((node) => !node.roles.includes("hub"));
  return [hub, plain].filter((node) => node !== undefined);
}

async function scanFrom(
  scanner: LayerNode,
  targets: readonly LayerNode[],
  ports: readonly Pick<ScanTarget, "protocol" | "port">[],
  listening: ReadonlyMap<string, ListeningSocket[]>,
  { layer, observer }: GateContext,
): Promise<GateCheck[]> {
  const interfaces = targets.flatMap((node) => [
    { node, plane: "underlay", address: node.underlay },
    ...layer.planes.map((plane) => ({ node, plane: plane.name, address: planeAddress(plane, node) })),
  ]);
  const wanted = interfaces.flatMap((at) => ports.map((port) => ({ at, target: { ...port, address: at.address } })));
  async function scan(list: typeof wanted, timeoutMs: number): Promise<ScanResult[]> {
    const request = { command: "scan", targets: list.map(({ target }) => target), timeoutMs } as const;
    return list.length === 0 ? [] : ((await observer.ask(scanner.name, request, scanTimeoutMs)) as ScanResult[]);
  }
  const outcomes = new Map<string, ScanResult["outcome"]>();
  const keyOf = ({ protocol, address, port }: ScanTarget) => `${protocol} ${address} ${port}`;
  for (const item of await scan(wanted, probeTimeoutMs)) outcomes.set(keyOf(item), item.outcome);
  const late = wanted.filter(
    ({ at, target }) =>
      target.protocol === "tcp" &&
      outcomes.get(keyOf(target)) === "silent" &&
      layer.openings.some((item) => applies(item, target, at.plane, at.node, scanner)),
  );
  for (const item of await scan(late, secondTimeoutMs)) outcomes.set(keyOf(item), item.outcome);
  return interfaces.map((at) => {
    const wrong: string[] = [];
    const open: string[] = [];
    let silent = 0;
    for (const port of ports) {
      const name = `${port.protocol}/${port.port}`;
      const outcome = outcomes.get(keyOf({ ...port, address: at.address }));
      const opening = layer.openings.find((item) => applies(item, port, at.plane, at.node, scanner));
      if (outcome === undefined) wrong.push(`${name} was not scanned`);
      else if (outcome === "silent") silent++;
      if (outcome === "open") open.push(name);
      if (outcome === "open" && opening === undefined) wrong.push(`${name} is open, the spec does not open it`);
      if (outcome === "refused" && at.plane === "underlay") wrong.push(`${name} answers (refused) on the underlay`);
      const listens = listening
        .get(at.node.name)
        ?.some((item) => item.protocol === port.protocol && item.port === port.port);
      if (opening !== undefined && port.protocol === "tcp" && outcome !== "open") {
        wrong.push(`${name} (${opening.service}) is ${outcome ?? "unknown"}${listens ? "" : ", nothing listens"}`);
      }
    }
    return {
      what: `${at.node.name} on ${at.plane}, from ${scanner.name}`,
      ok: wrong.length === 0,
      evidence: wrong.join("; ") || `${ports.length} ports: open ${open.join(", ") || "none"}; ${silent} silent`,
    };
  });
}

function applies(
  opening: LayerOpening,
  port: Pick<ScanTarget, "protocol" | "port">,
  plane: string,
  target: LayerNode,
  scanner: LayerNode,
): boolean {
  if (opening.plane !== plane || opening.protocol !== port.protocol || opening.port !== port.port) return false;
  if (opening.roles !== undefined && !opening.roles.some((role) => target.roles.includes(role))) return false;
  if (opening.from === undefined || opening.from.includes("nodes")) return true;
  return opening.from.includes("hub") && scanner.roles.includes("hub");
}

function unique(ports: readonly Pick<ScanTarget, "protocol" | "port">[]): Pick<ScanTarget, "protocol" | "port">[] {
  const each = [...new Map(ports.map((port) => [`${port.protocol} ${port.port}`, port])).values()];
  return each.toSorted((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}

import type { LayerNode } from "../../../shared/cluster-layer.ts";
import { ebpfPaths, type FlowRecord, type RetransmitRecord, type TcpRecord } from "../../../shared/ebpf.ts";
import { controlPlane, planeAddress, transitHub } from "../../../shared/render/peers.ts";
import { poll } from "./poll.ts";
import type { Gate, GateCheck, GateContext } from "./types.ts";

/** bpftrace compiles its script when a node starts. */
const limitSeconds = 180;
const sshPort = 22;
/** Nobody serves it, and the underlay's firewall is silent: the kernel asks again after a second. */
const silentPort = 9;

/** A connection and a segment that nobody answers, made on purpose, are in the recorder's lines on every node. */
export const ebpfGate: Gate = {
  name: "ebpf",
  summary: "every node records a TCP connection that was made, and a segment that was sent again",
  async run(context) {
    const { layer } = context;
    const hub = transitHub(layer);
    if (hub === undefined) return [{ what: "recorder", ok: false, evidence: "no node has the role hub" }];
    const running = await Promise.all(layer.nodes.map((node) => attached(context, node)));
    if (running.some(({ ok }) => !ok)) return running;
    const before = new Map(
      await Promise.all(layer.nodes.map(async ({ name }) => [name, new Set(await lines(context, name))] as const)),
    );
    const others = layer.nodes.filter(({ name }) => name !== hub.name);
    await Promise.all([
      ...others.map((node) => connect(context, hub, planeAddress(controlPlane(layer), node), sshPort)),
      ...layer.nodes.map((node) => connect(context, node, neighbour(layer.nodes, node).underlay, silentPort)),
    ]);
    const checks = await Promise.all(
      layer.nodes.map(async (node): Promise<GateCheck[]> => {
        const seen = await poll(
          context,
          limitSeconds,
          async () => find(await lines(context, node.name), before.get(node.name)!, node, hub),
          ({ flow, retransmit }) => flow !== undefined && retransmit !== undefined,
        );
        return [
          { what: `${node.name}: a connection`, ok: seen.flow !== undefined, evidence: flowText(seen.flow) },
          {
            what: `${node.name}: a segment sent again`,
            ok: seen.retransmit !== undefined,
            evidence: retransmitText(seen.retransmit),
          },
        ];
      }),
    );
    return checks.flat();
  },
};

/** The unit is active once the kernel's probes are attached. */
async function attached(context: GateContext, { name }: LayerNode): Promise<GateCheck> {
  const state = await poll(
    context,
    limitSeconds,
    async () => (await context.shell(name, ["systemctl", "is-active", "kubedos-ebpf.service"])).stdout.trim(),
    (text) => text === "active",
  );
  return { what: `${name}: the recorder runs`, ok: state === "active", evidence: state };
}

function neighbour(nodes: readonly LayerNode[], node: LayerNode): LayerNode {
  return nodes[(nodes.indexOf(node) + 1) % nodes.length]!;
}

async function lines({ shell }: GateContext, node: string): Promise<string[]> {
  const { stdout } = await shell(node, ["sudo", "tail", "--lines=500", ebpfPaths.records]);
  return stdout.split("\n").filter((line) => line.startsWith("{"));
}

/** A connection that is made and closed; it may fail. */
async function connect({ shell }: GateContext, from: LayerNode, address: string, port: number): Promise<void> {
  await shell(from.name, ["timeout", "4", "bash", "-c", "exec 3<>/dev/tcp/$0/$1", address, String(port)]);
}

interface Seen {
  flow?: FlowRecord;
  retransmit?: RetransmitRecord;
}

function find(now: readonly string[], before: ReadonlySet<string>, node: LayerNode, hub: LayerNode): Seen {
  const fresh = now.filter((line) => !before.has(line)).map((line) => JSON.parse(line) as TcpRecord);
  const flows = fresh.filter((record) => record.type === "flow");
  return {
    // The hub's own end, or the end of whom it has asked.
    flow: flows.find((record) =>
      node.name === hub.name
        ? record.direction === "out" && record.remotePort === sshPort && record.peer !== undefined
        : record.direction === "in" && record.localPort === sshPort && record.peer === hub.name,
    ),
    retransmit: fresh.filter((record) => record.type === "retransmit").find((one) => one.remotePort === silentPort),
  };
}

function flowText(flow: FlowRecord | undefined): string {
  if (flow === undefined) return `not in ${ebpfPaths.records}`;
  const { direction, peer, plane, program, receivedBytes, sentBytes, seconds } = flow;
  const who = program === undefined ? "" : ` by ${program}`;
  return `${direction} on ${plane}, ${peer}${who}, ${sentBytes} bytes sent, ${receivedBytes} received, ${seconds.toFixed(3)} s`;
}

function retransmitText(retransmit: RetransmitRecord | undefined): string {
  if (retransmit === undefined) return `not in ${ebpfPaths.records}`;
  const { peer, plane, remotePort, state } = retransmit;
  return `${state} to ${peer} port ${remotePort} on ${plane}`;
}

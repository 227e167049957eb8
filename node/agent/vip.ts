import type { Socket } from "node:dgram";
import { networkInterfaces } from "node:os";
import type { ClusterLayer, LayerEdge, LayerNode, LayerPlane } from "../../shared/cluster-layer.ts";
import { nodePeers, planeAddress } from "../../shared/render/peers.ts";
import { servicePorts } from "../../shared/services.ts";
import type { EventLog } from "./events.ts";
import { exec } from "./exec.ts";
import type { Identity } from "./identity.ts";
import { messageOf } from "./text.ts";

const lookEveryMs = 250;
const announceEveryMs = 500;
/** A holder that has not been heard for so long is one no more. Less than keepalived needs to make another one. */
const freshMs = 1_600;
const checkEveryMs = 15_000;

/** Whether this node has the virtual address on its interface, which is keepalived's doing. */
export function holdsVip({ plane, vip }: LayerEdge): boolean {
  return (networkInterfaces()[plane] ?? []).some((one) => one.address === vip);
}

/**
 * Keeps the virtual address reachable. WireGuard sends a packet to the peer that an address is allowed for, so when
 * the address moves, every node has to allow it for another peer. The holder announces itself to all nodes (as
 * gratuitous ARP does in an Ethernet); the address that an announcement comes from is proved by WireGuard, and only
 * nodes of role edge are believed. Does nothing where there is no virtual address.
 */
export async function followVip(identity: Identity, log: EventLog): Promise<void> {
  const { layer, node } = identity;
  const { edge } = layer;
  const plane = layer.planes.find((candidate) => candidate.name === edge?.plane);
  if (!layer.features.includes("edge") || edge === undefined || plane === undefined) return;
  const { createSocket } = await import("node:dgram");
  const socket = createSocket("udp4");
  const heard = new Map<string, number>();
  const edges = new Map(
    layer.nodes
      .filter((other) => other.roles.includes("edge") && other.name !== node.name)
      .map((other) => [planeAddress(plane, other), other]),
  );
  const follow = follower(layer, plane, node, edge, log);

  socket.on("message", (bytes, sender) => {
    const other = edges.get(sender.address);
    if (other === undefined || bytes.toString("latin1") !== announcement(edge)) return;
    heard.set(other.name, Date.now());
    if (holdsVip(edge)) return;
    const holder = currentHolder(heard, [...edges.values()], Date.now());
    if (holder !== undefined) follow(holder);
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.bind(servicePorts.vipAnnouncement, planeAddress(plane, node), resolve);
  });
  // An address that cannot be reached now is told again soon.
  socket.on("error", () => undefined);
  if (node.roles.includes("edge")) announce(socket, layer, plane, node, edge);
}

/** Text of an announcement. */
export function announcement({ vip }: Pick<LayerEdge, "vip">): string {
  return `kubedos-vip 1 ${vip}\n`;
}

/**
 * Who holds the address: of those heard lately the one with the lowest index, which is also the one that VRRP lets
 * win where two think that they hold it.
 *
 * @param heard node name → time of its last announcement, milliseconds
 */
export function currentHolder(
  heard: ReadonlyMap<string, number>,
  edges: readonly LayerNode[],
  nowMs: number,
): LayerNode | undefined {
  return edges
    .filter((other) => nowMs - (heard.get(other.name) ?? -Infinity) < freshMs)
    .toSorted((a, b) => a.index - b.index)[0];
}

function announce(socket: Socket, layer: ClusterLayer, plane: LayerPlane, node: LayerNode, edge: LayerEdge): void {
  const addresses = layer.nodes.filter((other) => other.name !== node.name).map((other) => planeAddress(plane, other));
  let held = false;
  let lastMs = 0;
  setInterval(() => {
    const before = held;
    held = holdsVip(edge);
    if (!held || (before && Date.now() - lastMs < announceEveryMs)) return;
    lastMs = Date.now();
    for (const address of addresses) {
      // A node that cannot be reached now hears the next one.
      socket.send(announcement(edge), servicePorts.vipAnnouncement, address, () => undefined);
    }
  }, lookEveryMs);
}

/** Gives the address to one peer after another; never two `wg` at once. */
function follower(
  layer: ClusterLayer,
  plane: LayerPlane,
  node: LayerNode,
  edge: LayerEdge,
  log: EventLog,
): (holder: LayerNode) => void {
  const peers = nodePeers(layer, plane, node);
  let current = "";
  let checkedMs = 0;
  let busy = false;

  async function give(holder: LayerNode): Promise<void> {
    // Where the holder is reached through a hub, the hub follows it, and this node's route to the hub is enough.
    const peer = peers.find((candidate) => candidate.name === holder.name);
    if (peer === undefined) return;
    if (current === holder.name && (await isAllowed(plane.name, peer.publicKey, edge.vip))) return;
    const allowed = [...peer.allowedIps, `${edge.vip}/32`].join(",");
    const { status, stderr } = await exec("wg", ["set", plane.name, "peer", peer.publicKey, "allowed-ips", allowed]);
    if (status !== 0) throw new Error(stderr.trim());
    if (current !== holder.name) {
      log.emit({ type: "log", level: "info", message: `${edge.vip} is held by ${holder.name}` });
    }
    current = holder.name;
  }
  return (holder) => {
    if (busy || (holder.name === current && Date.now() - checkedMs < checkEveryMs)) return;
    busy = true;
    checkedMs = Date.now();
    give(holder)
      .catch((error: unknown) => {
        current = "";
        log.emit({ type: "log", level: "warn", message: `cannot follow ${edge.vip}: ${messageOf(error)}` });
      })
      .finally(() => (busy = false));
  };
}

/** `wg show IFACE allowed-ips`: key, tab, networks separated by spaces. */
async function isAllowed(plane: string, publicKey: string, vip: string): Promise<boolean> {
  const { stdout } = await exec("wg", ["show", plane, "allowed-ips"]);
  const line = stdout.split("\n").find((candidate) => candidate.startsWith(`${publicKey}\t`));
  return line?.split(/\s+/).includes(`${vip}/32`) ?? false;
}

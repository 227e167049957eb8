import { KubedosError } from "../error.ts";
import type { ClusterLayer, LayerNode, LayerOperator, LayerPlane } from "../cluster-layer.ts";
import { formatAddress, parseNetwork } from "./ipv4.ts";

/** One WireGuard peer as wg(8) and systemd.netdev(5) configure it. */
export interface Peer {
  name: string;
  /** base64 */
  publicKey: string;
  /** `address/prefix`; WireGuard routes to and accepts from these. */
  allowedIps: string[];
  /** `address:port` on the underlay; absent for operators, whose place is not known. */
  endpoint?: string;
  /** 0: none. */
  keepaliveSeconds: number;
}

export function isHub(node: Pick<LayerNode, "roles">): boolean {
  return node.roles.includes("hub");
}

/** @throws KubedosError when the layer has no node of that name */
export function findNode(layer: ClusterLayer, name: string): LayerNode {
  const node = layer.nodes.find((candidate) => candidate.name === name);
  if (node !== undefined) return node;
  throw new KubedosError("failed", `node ${JSON.stringify(name)} is not in the cluster layer of ${layer.cluster}`, {
    hint: "the seed names a node that this cluster layer does not know: build and deploy both from the same spec",
  });
}

/** A node's address on a plane: network + index. */
export function planeAddress(plane: LayerPlane, node: LayerNode): string {
  return formatAddress(parseNetwork(plane.cidr).base + node.index);
}

/** The plane with the purpose `control`. @throws KubedosError when there is none */
export function controlPlane(layer: ClusterLayer): LayerPlane {
  const plane = layer.planes.find((candidate) => candidate.purpose === "control");
  if (plane !== undefined) return plane;
  throw new KubedosError("failed", `the cluster layer of ${layer.cluster} has no plane with the purpose control`);
}

/**
 * The hub that carries traffic for others: to operators on every plane, between spokes on planes of topology `hub`.
 * It is one hub, the one with the lowest index, because WireGuard lets an address belong to one peer only.
 */
export function transitHub(layer: ClusterLayer): LayerNode | undefined {
  let transit: LayerNode | undefined;
  for (const node of layer.nodes) {
    if (isHub(node) && (transit === undefined || node.index < transit.index)) transit = node;
  }
  return transit;
}

/** Whether a node forwards inside a plane: hubs do where others depend on them, nobody does elsewhere. */
export function forwards(layer: ClusterLayer, plane: LayerPlane, node: LayerNode): boolean {
  if (!isHub(node)) return false;
  return plane.topology === "hub" || layer.operators.some((operator) => operator.plane === plane.name);
}

/** Whether two nodes are peers of each other on a plane. */
export function arePeers(
  plane: Pick<LayerPlane, "topology">,
  a: Pick<LayerNode, "name" | "roles">,
  b: Pick<LayerNode, "name" | "roles">,
): boolean {
  return a.name !== b.name && (plane.topology === "mesh" || isHub(a) || isHub(b));
}

/**
 * The peers of one node on one plane, in the layer's order, operators last.
 *
 * Mesh: every other node. Hub topology: hubs have every node, spokes only the hubs, and the transit hub stands for
 * the whole plane. Operators are peers of the hubs; everybody else reaches them through the transit hub.
 */
export function nodePeers(layer: ClusterLayer, plane: LayerPlane, node: LayerNode): Peer[] {
  const keyIndex = layer.planes.findIndex((candidate) => candidate.name === plane.name);
  const base = parseNetwork(plane.cidr).base;
  const operators = layer.operators.filter((operator) => operator.plane === plane.name);
  const transit = transitHub(layer);
  const spoke = !isHub(node);

  const peers: Peer[] = [];
  for (const other of layer.nodes) {
    if (!arePeers(plane, node, other)) continue;
    const allowedIps = [`${formatAddress(base + other.index)}/32`];
    if (spoke && other === transit) {
      if (plane.topology === "hub") allowedIps.push(plane.cidr);
      else allowedIps.push(...operators.map((operator) => `${operator.address}/32`));
    }
    peers.push({
      name: other.name,
      publicKey: other.keys[keyIndex]!,
      allowedIps,
      endpoint: `${other.underlay}:${plane.port}`,
      keepaliveSeconds: plane.keepaliveSeconds,
    });
  }
  if (!spoke) for (const operator of operators) peers.push(operatorPeer(operator));
  return peers;
}

/** The peers of an operator's own interface: the hubs, of which the transit hub stands for the whole plane. */
export function operatorPeers(layer: ClusterLayer, operator: LayerOperator): Peer[] {
  const keyIndex = layer.planes.findIndex((candidate) => candidate.name === operator.plane);
  const plane = layer.planes[keyIndex];
  if (plane === undefined) {
    throw new KubedosError("failed", `operator ${operator.name} is on the unknown plane ${operator.plane}`);
  }
  const transit = transitHub(layer);
  return layer.nodes.filter(isHub).map((hub) => ({
    name: hub.name,
    publicKey: hub.keys[keyIndex]!,
    allowedIps: [`${planeAddress(plane, hub)}/32`, ...(hub === transit ? [plane.cidr] : [])],
    endpoint: `${hub.underlay}:${plane.port}`,
    keepaliveSeconds: plane.keepaliveSeconds,
  }));
}

function operatorPeer(operator: LayerOperator): Peer {
  return {
    name: operator.name,
    publicKey: operator.publicKey,
    allowedIps: [`${operator.address}/32`],
    keepaliveSeconds: 0,
  };
}

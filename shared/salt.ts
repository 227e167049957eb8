import type { ClusterLayer, LayerNode } from "./cluster-layer.ts";
import type { RenderedFile } from "./render/render.ts";
import { enrollPaths } from "./enroll.ts";
import { controlPlane, isHub, planeAddress } from "./render/peers.ts";

/**
 * Salt in a cluster: every hub is a master, every node a minion of all of them. All masters have one key, which the
 * minions know beforehand. The masters know every minion's key beforehand too, from the cluster layer, unless nodes make
 * their keys themselves (shared/enroll.ts).
 */

/** Salt's own ports: publish, and requests. */
export const saltPorts = { publish: 4505, request: 4506 } as const;

/** RSA private keys in a node's seed, PKCS#8 PEM. The master's is in the seeds of hubs only. */
export const saltCredentials = { minion: "kubedos.salt.minion.pem", master: "kubedos.salt.master.pem" } as const;

/** Where things of Salt are on a node. */
export const saltPaths = {
  /** Rendered at boot. */
  rendered: "/run/kubedos/salt",
  /** Key directories, filled by kubedos-salt-keys; Salt's own names are below. */
  minionPki: "/run/salt-minion/pki",
  masterPki: "/run/salt-master/pki",
  /** The user's states and pillar from the spec directory's `salt/`, in the cluster layer. */
  layerContent: "/run/kubedos/layer/salt",
  /** Put on the hub by hand. */
  hubContent: "/srv/salt",
  hubPillar: "/srv/pillar",
  /** The platform's own. */
  platform: "/usr/share/kubedos/salt",
} as const;

/** What one node's Salt needs from the layer, as files under /run/kubedos/salt. Pure. */
export function renderSalt(layer: ClusterLayer, node: LayerNode): RenderedFile[] {
  const { salt } = layer;
  if (salt === undefined || !layer.features.includes("salt")) return [];
  const files: RenderedFile[] = [];
  const add = (path: string, content: string) =>
    files.push({ path: `${saltPaths.rendered}/${path}`, mode: 0o644, content });
  const control = controlPlane(layer);
  const hubs = layer.nodes.filter(isHub);

  // JSON is YAML, which Salt reads.
  add("minion.d/kubedos.conf", json(minionOptions(layer, node, hubs)));
  add("keys/minion/minion_master.pub", pem(salt.masterKey));
  if (node.saltKey !== undefined) add("keys/minion/minion.pub", pem(node.saltKey));
  const mode = salt.enrollment ?? "preseed";
  files.push({ path: mode === "join" ? enrollPaths.mode : enrollPaths.enrolled, mode: 0o644, content: `${mode}\n` });
  if (!isHub(node)) return files;
  add("master.d/kubedos.conf", json({ interface: planeAddress(control, node) }));
  add("keys/master/master.pub", pem(salt.masterKey));
  for (const other of layer.nodes) {
    // As Salt writes them: `salt-key -F` hashes the file.
    if (other.saltKey !== undefined) add(`keys/master/minions/${other.name}`, other.saltKey.trim());
  }
  add("pillar/kubedos-nodes.json", json(pillar(layer)));
  return files;
}

function minionOptions(layer: ClusterLayer, node: LayerNode, hubs: readonly LayerNode[]): Record<string, unknown> {
  const control = controlPlane(layer);
  return {
    id: node.name,
    master: hubs.map((hub) => planeAddress(control, hub)),
    grains: {
      cluster: layer.cluster,
      roles: node.roles,
      node_index: node.index,
      planes: planes(layer, node),
    },
  };
}

/** Every node's own part by its name, for the platform's pillar. */
function pillar(layer: ClusterLayer): Record<string, unknown> {
  const nodes = layer.nodes.map((node) => [
    node.name,
    { name: node.name, index: node.index, roles: node.roles, underlay: node.underlay, planes: planes(layer, node) },
  ]);
  return { cluster: layer.cluster, features: layer.features, nodes: Object.fromEntries(nodes) as unknown };
}

function planes(layer: ClusterLayer, node: LayerNode): Record<string, { address: string; purpose: string }> {
  return Object.fromEntries(
    layer.planes.map((plane) => [plane.name, { address: planeAddress(plane, node), purpose: plane.purpose }]),
  );
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 1)}\n`;
}

/** Salt compares keys by their text, without white space around it. */
function pem(text: string): string {
  return `${text.trim()}\n`;
}

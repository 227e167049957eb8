import type { ClusterLayer, LayerNode } from "../cluster-layer.ts";
import { automationLogin, automationPaths } from "../convergence.ts";
import { controlPlane, isHub, planeAddress, transitHub } from "./peers.ts";
import type { RenderedFile } from "./render.ts";

type Value = string | number | boolean | readonly string[] | Readonly<Record<string, string>>;

/** What a play knows of one node without asking it. Names are those of docs/convergence.md. */
export interface HostVariables {
  [name: string]: Value;
}

/**
 * What a hub needs to drive the nodes with Ansible: the inventory with its groups, group_vars for all, and the nodes'
 * host keys. The documents are YAML written as JSON, which every YAML reader takes and Ansible reads faster.
 *
 * Groups: `cluster_lead`, the hub that drives the others; `role_<role>` for each role that a node has, `feature_<feature>` for each feature of the platform (which is
 * on all nodes), with `-` written `_` as Ansible wants it. Pure; the cost is O(nodes).
 */
export function ansibleFiles(layer: ClusterLayer): RenderedFile[] {
  const add = (path: string, content: string) => ({ path, mode: 0o644, content });
  return [
    add(automationPaths.inventory, document(inventory(layer))),
    add(automationPaths.groupVars, document(groupVariables(layer))),
    add(automationPaths.knownHosts, knownHosts(layer)),
  ];
}

/** authorized_keys(5) of the automation user: the key of each hub, from that hub's own address only. */
export function automationKeys(layer: ClusterLayer): string {
  const control = controlPlane(layer);
  const lines = layer.nodes.flatMap((node) => {
    if (node.automationKey === undefined) return [];
    const from = `from="${planeAddress(control, node)}",restrict`;
    return [`${from} ssh-ed25519 ${node.automationKey} ${automationLogin}@${node.name}\n`];
  });
  return lines.join("");
}

function inventory(layer: ClusterLayer): unknown {
  const names = layer.nodes.map((node) => node.name);
  const roles = [...new Set(layer.nodes.flatMap((node) => node.roles))].toSorted();
  const members = (wanted: readonly string[]) => ({ hosts: Object.fromEntries(wanted.map((name) => [name, {}])) });
  const lead = transitHub(layer);
  const withRole = (role: string) => layer.nodes.filter((node) => node.roles.includes(role)).map((node) => node.name);
  return {
    all: {
      hosts: Object.fromEntries(layer.nodes.map((node) => [node.name, hostVariables(layer, node)])),
      children: Object.fromEntries([
        ["cluster_lead", members(lead === undefined ? [] : [lead.name])] as const,
        ...roles.map((role) => [`role_${groupName(role)}`, members(withRole(role))] as const),
        ...layer.features.map((feature) => [`feature_${groupName(feature)}`, members(names)] as const),
      ]),
    },
  };
}

function hostVariables(layer: ClusterLayer, node: LayerNode): HostVariables {
  const planes = Object.fromEntries(layer.planes.map((plane) => [plane.name, planeAddress(plane, node)]));
  // The first plane of a purpose stands for it; `planes` has all of them.
  const byPurpose = layer.planes.toReversed().map((plane) => [`plane_${plane.purpose}`, planes[plane.name]!] as const);
  return {
    ansible_host: planeAddress(controlPlane(layer), node),
    index: node.index,
    underlay: node.underlay,
    node_roles: [...node.roles],
    ...Object.fromEntries(byPurpose),
    planes,
  };
}

function groupVariables(layer: ClusterLayer): Record<string, unknown> {
  const control = controlPlane(layer);
  const hub = transitHub(layer);
  return {
    cluster_name: layer.cluster,
    cluster_id: layer.clusterId,
    cluster_features: layer.features,
    cluster_planes: Object.fromEntries(
      layer.planes.map(({ name, purpose, cidr, mtu, topology }) => [name, { purpose, cidr, mtu, topology }]),
    ),
    cluster_hubs: layer.nodes.filter(isHub).map((node) => node.name),
    cluster_hub: hub?.name ?? "",
    cluster_hub_address: hub === undefined ? "" : planeAddress(control, hub),
  };
}

/** sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". */
function knownHosts(layer: ClusterLayer): string {
  const control = controlPlane(layer);
  return layer.nodes
    .map((node) => `${planeAddress(control, node)},${node.name} ssh-ed25519 ${node.hostKey}\n`)
    .join("");
}

/** Group names are identifiers: letters, digits and underscores. */
function groupName(name: string): string {
  return name.replaceAll(/[^A-Za-z0-9_]/g, "_");
}

function document(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

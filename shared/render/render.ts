import type { ClusterLayer } from "../cluster-layer.ts";
import { nftables } from "./firewall.ts";
import { hosts } from "./hosts.ts";
import { controlPlane, findNode, planeAddress } from "./peers.ts";
import { underlayNetwork } from "./underlay.ts";
import { netdev, planeNetwork, setconf } from "./wireguard.ts";

/** A file of a node's own configuration. Owner is root:root; none of them holds a secret. */
export interface RenderedFile {
  /** Absolute path on the node, under /run. */
  path: string;
  mode: number;
  content: string;
}

export interface RenderOptions {
  /** The kernel has no WireGuard: write `wg setconf` files for wireguard-go in place of .netdev files. */
  userspaceWireguard: boolean;
  /** Name of the underlay interface (`host0` under nspawn); absent: every Ethernet interface. */
  underlayInterface?: string;
}

/** Login name of operators on the nodes. */
export const operatorLogin = "kubedos";

/** Paths that units and configuration files of the image refer to. */
export const renderedPaths = {
  networkd: "/run/systemd/network",
  nftables: "/run/kubedos/nftables.conf",
  hosts: "/run/kubedos/hosts",
  sshdListen: "/run/kubedos/sshd_listen.conf",
  authorizedKeys: `/run/kubedos/authorized_keys/${operatorLogin}`,
  /** `<plane>.conf` for `wg setconf`, with wireguard-go only. */
  wireguard: "/run/kubedos/wireguard",
  sysctl: "/run/sysctl.d/90-kubedos-layer.conf",
} as const;

/**
 * Everything a node's configuration needs from the cluster layer, as files. Pure and deterministic; cost O(nodes).
 *
 * @throws KubedosError when the layer has no such node or no control plane
 */
export function renderNode(layer: ClusterLayer, nodeName: string, options: RenderOptions): RenderedFile[] {
  const node = findNode(layer, nodeName);
  const files: RenderedFile[] = [];
  const add = (path: string, content: string) => files.push({ path, mode: 0o644, content });

  const underlay = underlayNetwork(layer, node, options.underlayInterface);
  add(`${renderedPaths.networkd}/10-kubedos-underlay.network`, underlay);
  for (const plane of layer.planes) {
    if (options.userspaceWireguard) add(`${renderedPaths.wireguard}/${plane.name}.conf`, setconf(layer, plane, node));
    else add(`${renderedPaths.networkd}/20-kubedos-${plane.name}.netdev`, netdev(layer, plane, node));
    add(`${renderedPaths.networkd}/20-kubedos-${plane.name}.network`, planeNetwork(layer, plane, node));
  }
  add(renderedPaths.nftables, nftables(layer, node, options.underlayInterface));
  add(renderedPaths.hosts, hosts(layer));
  add(renderedPaths.sshdListen, `ListenAddress ${planeAddress(controlPlane(layer), node)}\n`);
  add(renderedPaths.authorizedKeys, layer.operators.map((operator) => `${operator.sshKey}\n`).join(""));
  add(renderedPaths.sysctl, sysctls(layer.sysctls));
  return files;
}

/** sysctl.d(5), sorted. */
function sysctls(values: Readonly<Record<string, string>>): string {
  const names = Object.keys(values).toSorted();
  return names.map((name) => `${name} = ${values[name]}\n`).join("");
}

import { wireguardCredential } from "../seed.ts";
import type { ClusterLayer, LayerNode, LayerOperator, LayerPlane } from "../cluster-layer.ts";
import { parseNetwork } from "./ipv4.ts";
import { forwards, nodePeers, operatorPeers, planeAddress, type Peer } from "./peers.ts";

/**
 * systemd.netdev(5) of one plane. The private key is not in it: systemd-networkd reads it from the credential of
 * the seed.
 */
export function netdev(layer: ClusterLayer, plane: LayerPlane, node: LayerNode): string {
  const lines = [
    "[NetDev]",
    `Name=${plane.name}`,
    "Kind=wireguard",
    `Description=${plane.purpose} plane`,
    "",
    "[WireGuard]",
    `PrivateKey=@${wireguardCredential(plane.name)}`,
    `ListenPort=${plane.port}`,
  ];
  for (const peer of nodePeers(layer, plane, node)) {
    lines.push("", `# ${peer.name}`, "[WireGuardPeer]", `PublicKey=${peer.publicKey}`);
    lines.push(...peer.allowedIps.map((network) => `AllowedIPs=${network}`));
    if (peer.endpoint !== undefined) lines.push(`Endpoint=${peer.endpoint}`);
    if (peer.keepaliveSeconds > 0) lines.push(`PersistentKeepalive=${peer.keepaliveSeconds}`);
  }
  return `${lines.join("\n")}\n`;
}

/** systemd.network(5) of one plane; it serves an interface that networkd made and one that wireguard-go made. */
export function planeNetwork(layer: ClusterLayer, plane: LayerPlane, node: LayerNode): string {
  return [
    "[Match]",
    `Name=${plane.name}`,
    "",
    "[Link]",
    `MTUBytes=${plane.mtu}`,
    "",
    "[Network]",
    // The plane's whole network is on this link, so no further routes are needed.
    `Address=${planeAddress(plane, node)}/${parseNetwork(plane.cidr).prefix}`,
    "LinkLocalAddressing=no",
    "IPv6AcceptRA=no",
    `IPv4Forwarding=${forwards(layer, plane, node) ? "yes" : "no"}`,
    "",
  ].join("\n");
}

/**
 * Configuration for `wg setconf` where the kernel has no WireGuard. `setconf` clears the private key: it has to be
 * set afterwards, `wg set IFACE private-key FILE`.
 */
export function setconf(layer: ClusterLayer, plane: LayerPlane, node: LayerNode): string {
  return wgConfiguration(plane.port, nodePeers(layer, plane, node));
}

/** `wg setconf` text for an operator's interface, without the private key and with a port of the system's choice. */
export function operatorSetconf(layer: ClusterLayer, operator: LayerOperator): string {
  return wgConfiguration(undefined, operatorPeers(layer, operator));
}

function wgConfiguration(listenPort: number | undefined, peers: readonly Peer[]): string {
  const lines = ["[Interface]"];
  if (listenPort !== undefined) lines.push(`ListenPort = ${listenPort}`);
  for (const peer of peers) {
    lines.push("", `# ${peer.name}`, "[Peer]", `PublicKey = ${peer.publicKey}`);
    lines.push(`AllowedIPs = ${peer.allowedIps.join(", ")}`);
    if (peer.endpoint !== undefined) lines.push(`Endpoint = ${peer.endpoint}`);
    if (peer.keepaliveSeconds > 0) lines.push(`PersistentKeepalive = ${peer.keepaliveSeconds}`);
  }
  return `${lines.join("\n")}\n`;
}

import type { ClusterLayer, LayerNode } from "../cluster-layer.ts";
import { parseNetwork } from "./ipv4.ts";

/**
 * systemd.network(5) of the underlay: the named interface, else every physical or virtio Ethernet interface. No
 * IPv6, no multicast name services: nothing but WireGuard is meant to be reached here.
 */
export function underlayNetwork(layer: ClusterLayer, node: LayerNode, underlayInterface: string | undefined): string {
  const { mode, cidr, gateway, dns, mtu } = layer.underlay;
  const match = underlayInterface === undefined ? ["Type=ether", "Kind=!*"] : [`Name=${underlayInterface}`];
  const common = ["LinkLocalAddressing=no", "IPv6AcceptRA=no", "LLMNR=no", "MulticastDNS=no", "IPv4Forwarding=no"];
  const network =
    mode === "dhcp"
      ? [
          "[Network]",
          "DHCP=ipv4",
          ...common,
          "",
          "[DHCPv4]",
          "UseHostname=no",
          "UseNTP=no",
          "UseMTU=no",
          "SendHostname=no",
        ]
      : [
          "[Network]",
          `Address=${node.underlay}/${parseNetwork(cidr).prefix}`,
          ...(gateway === undefined ? [] : [`Gateway=${gateway}`]),
          ...dns.map((server) => `DNS=${server}`),
          ...common,
        ];
  return `${["[Match]", ...match, "", "[Link]", `MTUBytes=${mtu}`, "", ...network].join("\n")}\n`;
}

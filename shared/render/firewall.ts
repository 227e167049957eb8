import type { ClusterLayer, LayerNode, LayerOpening, LayerPlane } from "../cluster-layer.ts";
import { parseAddress, parseNetwork, toRanges } from "./ipv4.ts";
import { forwards, isHub, planeAddress } from "./peers.ts";

/**
 * nftables ruleset of one node: one `inet` table that is replaced as a whole. Everything that is not opened is
 * refused on every interface.
 *
 * - Underlay (every interface that is neither loopback nor a plane): WireGuard, echo requests, DHCP where asked for,
 *   openings that name the underlay. The rest is dropped without an answer: a stranger learns nothing.
 * - Planes: openings of that plane, to the node's own address on it, from addresses of it. The rest is refused with
 *   a reset: a peer has proved who it is, and a quick clear error serves it better than a time-out.
 * - Between planes nothing is forwarded. Hubs forward inside one plane: everything where its topology is `hub`,
 *   else only what operators begin.
 * - Packets for a plane never leave through another interface, so a plane that is down does not leak them in clear.
 */
export function nftables(layer: ClusterLayer, node: LayerNode, underlayInterface?: string): string {
  const planes = layer.planes;
  const body = [
    ...planes.flatMap((plane) => planeSets(layer, plane)),
    ...underlaySets(layer),
    ...inputChain(planes, underlayInterface),
    ...underlayChain(layer, node),
    ...planes.flatMap((plane) => planeChain(layer, plane, node)),
    ...forwardChains(layer, node),
    ...outputChain(planes),
  ];
  return [
    "# The first two lines make the third replace the table in one transaction.",
    "table inet kubedos",
    "delete table inet kubedos",
    "table inet kubedos {",
    ...body.map((line) => (line === "" ? "" : `  ${line}`)),
    "}",
    "",
  ].join("\n");
}

type Source = NonNullable<LayerOpening["from"]>[number];

const sources = ["nodes", "hub", "operators"] as const satisfies readonly Source[];

function planeSets(layer: ClusterLayer, plane: LayerPlane): string[] {
  const base = parseNetwork(plane.cidr).base;
  const members: Record<Source, number[]> = {
    nodes: layer.nodes.map((node) => base + node.index),
    hub: layer.nodes.filter(isHub).map((node) => base + node.index),
    operators: layer.operators.filter((o) => o.plane === plane.name).map((o) => parseAddress(o.address)),
  };
  return sources.flatMap((source) => addressSet(setName(plane.name, source), members[source]));
}

/** Sets of underlay addresses, only where an opening on the underlay asks for a source. */
function underlaySets(layer: ClusterLayer): string[] {
  const wanted = new Set(layer.openings.filter((o) => o.plane === "underlay").flatMap((o) => o.from ?? []));
  return sources
    .filter((source) => wanted.has(source))
    .flatMap((source) => {
      const nodes = source === "nodes" ? layer.nodes : source === "hub" ? layer.nodes.filter(isHub) : [];
      return addressSet(
        setName("underlay", source),
        nodes.map((node) => parseAddress(node.underlay)),
      );
    });
}

function addressSet(name: string, addresses: readonly number[]): string[] {
  const ranges = toRanges(addresses);
  const elements = ranges.length === 0 ? [] : [`  elements = { ${ranges.join(", ")} }`];
  return [`set ${name} {`, "  type ipv4_addr", "  flags interval", ...elements, "}", ""];
}

function inputChain(planes: readonly LayerPlane[], underlayInterface: string | undefined): string[] {
  const underlay =
    underlayInterface === undefined ? "goto underlay_in" : `iifname "${underlayInterface}" goto underlay_in`;
  return chain("input", [
    "type filter hook input priority filter; policy drop;",
    `iifname "lo" accept`,
    "ct state invalid counter drop",
    ...planes.map((plane) => `iifname "${plane.name}" goto ${chainName(plane, "in")}`),
    underlay,
  ]);
}

function underlayChain(layer: ClusterLayer, node: LayerNode): string[] {
  const cidrs = layer.planes.map((plane) => plane.cidr).join(", ");
  const toSelf = layer.underlay.mode === "static" ? `ip daddr ${node.underlay} ` : "";
  const ports = layer.planes.map((plane) => plane.port).toSorted((a, b) => a - b);
  return chain("underlay_in", [
    // Before "established": connection tracking does not know interfaces, so a stranger who forges a plane's
    // addresses must not be able to join a peer's connection.
    `ip saddr { ${cidrs} } counter drop`,
    `ip daddr { ${cidrs} } counter drop`,
    "ct state established,related accept",
    `${toSelf}udp dport { ${ports.join(", ")} } counter accept`,
    ...(layer.underlay.mode === "dhcp" ? ["udp sport 67 udp dport 68 counter accept"] : []),
    ...icmp(20),
    ...icmpv6(20),
    ...openingRules(layer, "underlay", node),
    ...logged("underlay"),
    "counter drop",
  ]);
}

function planeChain(layer: ClusterLayer, plane: LayerPlane, node: LayerNode): string[] {
  const edge = layer.edge?.plane === plane.name ? layer.edge : undefined;
  const holder = edge !== undefined && node.roles.includes("edge");
  const own = planeAddress(plane, node);
  return chain(chainName(plane, "in"), [
    // The other half of "policy between planes": one plane's packets do not reach another plane's address.
    `ip saddr != ${plane.cidr} counter drop`,
    `ip daddr != ${holder ? `{ ${own}, ${edge.vip} }` : own} counter drop`,
    "ct state established,related accept",
    ...icmp(1000),
    ...openingRules(layer, plane.name, node),
    ...(holder ? vrrp(layer, plane, node) : []),
    ...logged(plane.name),
    "meta l4proto tcp counter reject with tcp reset",
    "counter reject with icmpx type port-unreachable",
  ]);
}

/** VRRP (RFC 5798), between the nodes that share the virtual address. */
function vrrp(layer: ClusterLayer, plane: LayerPlane, node: LayerNode): string[] {
  const others = layer.nodes.filter((other) => other.roles.includes("edge") && other.name !== node.name);
  if (others.length === 0) return [];
  const addresses = others.map((other) => planeAddress(plane, other)).join(", ");
  return [`ip saddr { ${addresses} } ip protocol vrrp counter accept`];
}

/** Echo requests at a bounded rate; errors belong to connections and are "related". */
function icmp(perSecond: number): string[] {
  return [`icmp type echo-request ${rate(perSecond)} counter accept`];
}

/** Neighbour discovery never crosses a router, hence its hop limit of 255 (RFC 4861, 7.1). */
function icmpv6(perSecond: number): string[] {
  return [
    `icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 ${rate(perSecond)} counter accept`,
    `icmpv6 type { echo-request, packet-too-big } ${rate(perSecond)} counter accept`,
  ];
}

function rate(perSecond: number): string {
  return `limit rate ${perSecond}/second burst ${perSecond * 2} packets`;
}

function openingRules(layer: ClusterLayer, plane: string, node: LayerNode): string[] {
  const rules = layer.openings
    .filter((opening) => opening.plane === plane)
    .filter((opening) => opening.roles === undefined || opening.roles.some((role) => node.roles.includes(role)))
    .flatMap((opening) => {
      const accept = `${opening.protocol} dport ${opening.port} counter accept comment "${comment(opening.service)}"`;
      if (opening.from !== undefined) {
        return opening.from.map((source) => `ip saddr @${setName(plane, source)} ${accept}`);
      }
      // On a plane a peer is a node or an operator of it, not whatever address lies in its range.
      const everyone: Source[] = ["nodes", "operators"];
      return plane === "underlay"
        ? [accept]
        : everyone.map((source) => `ip saddr @${setName(plane, source)} ${accept}`);
    });
  return [...new Set(rules)];
}

function forwardChains(layer: ClusterLayer, node: LayerNode): string[] {
  const carried = layer.planes.filter((plane) => forwards(layer, plane, node));
  return [
    ...chain("forward", [
      "type filter hook forward priority filter; policy drop;",
      ...carried.map((plane) => `iifname "${plane.name}" oifname "${plane.name}" goto ${chainName(plane, "forward")}`),
      ...logged("forward"),
      "counter drop",
    ]),
    ...carried.flatMap((plane) =>
      chain(chainName(plane, "forward"), [
        `ip saddr != ${plane.cidr} counter drop`,
        `ip daddr != ${plane.cidr} counter drop`,
        "ct state invalid counter drop",
        "ct state established,related accept",
        plane.topology === "hub"
          ? `ip saddr ${plane.cidr} counter accept`
          : `ip saddr @${setName(plane.name, "operators")} counter accept`,
        ...logged(`${plane.name} forward`),
        "counter drop",
      ]),
    ),
  ];
}

function outputChain(planes: readonly LayerPlane[]): string[] {
  return chain("output", [
    "type filter hook output priority filter; policy accept;",
    `oifname "lo" accept`,
    ...planes.map(
      (plane) => `oifname != "${plane.name}" ip daddr ${plane.cidr} counter reject with icmpx type no-route`,
    ),
  ]);
}

function chain(name: string, lines: readonly string[]): string[] {
  return [`chain ${name} {`, ...lines.map((line) => `  ${line}`), "}", ""];
}

function logged(where: string): string[] {
  return [`limit rate 5/minute burst 10 packets log prefix "kubedos drop ${where}: " level info`];
}

function setName(plane: string, source: Source): string {
  return plane === "underlay" ? `underlay_${source}` : `plane_${plane}_${source}`;
}

/** The prefix keeps a plane's chains apart from the base chains, and a name that starts with a digit valid. */
function chainName(plane: LayerPlane, direction: "in" | "forward"): string {
  return `plane_${plane.name}_${direction}`;
}

/** Free text as an nftables comment: at most 128 bytes, nothing that ends the string. */
function comment(text: string): string {
  return text.replaceAll(/[^\w .:/-]/g, "_").slice(0, 100);
}

import { type Finding, formatPath, type Path } from "../finding.ts";
import { formatIpv4Network, type Ipv4Network, networkOf, parseIpv4, parseIpv4Network } from "../ipv4.ts";
import { show } from "../issues.ts";
import type { Constraint, SpecView } from "./types.ts";

interface NamedNetwork {
  path: Path;
  text: string;
  network: Ipv4Network | undefined;
}

/** Every network of the spec, with where it is written. */
export function allNetworks(view: SpecView): NamedNetwork[] {
  const { underlay, planes, kubernetes } = view.spec;
  const texts: [Path, string][] = [
    [["underlay", "cidr"], underlay.cidr],
    ...planes.map((plane, i): [Path, string] => [["planes", i, "cidr"], plane.cidr]),
    [["kubernetes", "podCidr"], kubernetes.podCidr],
    [["kubernetes", "serviceCidr"], kubernetes.serviceCidr],
  ];
  return texts.map(([path, text]) => ({ path, text, network: parseIpv4Network(text) }));
}

/** Networks that no cluster may use (RFC 6890). */
const specialNetworks = (
  [
    ["0.0.0.0", 8, "this network"],
    ["127.0.0.0", 8, "loopback"],
    ["169.254.0.0", 16, "link-local"],
    ["224.0.0.0", 4, "multicast"],
    ["240.0.0.0", 4, "reserved"],
  ] as const
).map(([first, prefix, use]) => ({ use, ...networkOf(parseIpv4(first)!, prefix) }));

/** CIDRs are well-formed, without host bits, of a usable size, and outside special ranges. */
export const networkSyntax: Constraint = {
  name: "network-syntax",
  reads: ["underlay.cidr", "planes.cidr", "kubernetes"],
  check: (view) => allNetworks(view).flatMap(checkNetwork),
};

function checkNetwork({ path, text, network }: NamedNetwork): Finding[] {
  const name = `\`${formatPath(path)}\``;
  if (network === undefined) {
    const hint =
      parseIpv4(text) === undefined
        ? "write it as address/prefix, e.g. `10.101.0.0/24`; IPv6 is not supported"
        : `add the prefix length: \`${formatIpv4Network(networkOf(parseIpv4(text)!, 24))}\``;
    return [{ path, message: `${name} is ${show(text)}, which is not an IPv4 network`, hint }];
  }
  if (network.written !== network.first) {
    const right = formatIpv4Network(network);
    return [
      { path, message: `${name} is ${show(text)}, an address inside the network ${right}`, hint: `write \`${right}\`` },
    ];
  }
  if (network.prefix > 30) {
    const hint = "use /30 or larger: network and broadcast address hold no node";
    return [{ path, message: `${name} (${text}) has no room for nodes`, hint }];
  }
  const special = specialNetworks.find((other) => overlap(network, other));
  if (special === undefined) return [];
  const message = `${name} (${text}) overlaps ${formatIpv4Network(special)} (${special.use})`;
  return [{ path, message, hint: "use a private network: 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16" }];
}

/** No two networks of the spec overlap. */
export const overlaps: Constraint = {
  name: "overlaps",
  reads: ["underlay.cidr", "planes.cidr", "kubernetes"],
  check(view) {
    const networks = allNetworks(view)
      .filter((named): named is NamedNetwork & { network: Ipv4Network } => named.network !== undefined)
      .map((named, order) => ({ ...named, order }))
      .toSorted((a, b) => a.network.first - b.network.first || a.order - b.order);
    const findings: Finding[] = [];
    let widest = networks[0];
    for (const named of networks.slice(1)) {
      if (widest !== undefined && overlap(named.network, widest.network)) {
        // The later one in the file is the one to move; a default was not written, so the written one moves.
        const [keep, move] = widest.order < named.order ? [widest, named] : [named, widest];
        findings.push({
          path: move.path,
          message: `\`${formatPath(move.path)}\` (${move.text}) overlaps \`${formatPath(keep.path)}\` (${keep.text})`,
          hint: "give every network a range of its own",
        });
      }
      if (widest === undefined || named.network.last > widest.network.last) widest = named;
    }
    return findings;
  },
};

function overlap(a: Pick<Ipv4Network, "first" | "last">, b: Pick<Ipv4Network, "first" | "last">): boolean {
  return a.first <= b.last && b.first <= a.last;
}

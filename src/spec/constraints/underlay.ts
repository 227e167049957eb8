import type { Finding } from "../finding.ts";
import {
  formatIpv4,
  formatIpv4Network,
  type Ipv4Network,
  isHostAddress,
  networkOf,
  parseIpv4,
  parseIpv4Network,
  prefixFor,
} from "../ipv4.ts";
import { printable, show } from "../issues.ts";
import { type Constraint, nodeName, nodePath, placementFields, type SpecView } from "./types.ts";

/** Node addresses are addresses, inside the underlay's network, neither its first nor its last, and no one else's. */
export const nodeAddresses: Constraint = {
  name: "node-addresses",
  reads: [...placementFields, "trust.operators"],
  check(view) {
    const network = usableUnderlay(view);
    const takenBy = new Map<number, number>();
    const findings: Finding[] = [];
    const poolsOutside = new Set<unknown>();
    for (const [i, node] of view.spec.nodes.entries()) {
      const address = parseIpv4(node.underlay);
      if (address === undefined || (network !== undefined && !isHostAddress(network, address))) {
        // A pool that does not fit is one problem, not one a node.
        const [list, position] = view.origins[i]!;
        if (list === "pools" && poolsOutside.has(position)) continue;
        if (list === "pools") poolsOutside.add(position);
        findings.push(...misplaced(view, i, address, network));
        continue;
      }
      const other = takenBy.get(address);
      if (other === undefined) takenBy.set(address, i);
      // Equal indexes, which is reported as such, lead to equal addresses.
      else if (view.spec.nodes[other]!.index !== node.index) findings.push(sameAddress(view, i, other));
    }
    if (network !== undefined) findings.push(...operatorClashes(view, network, takenBy));
    return findings;
  },
};

function misplaced(
  view: SpecView,
  i: number,
  address: number | undefined,
  network: Ipv4Network | undefined,
): Finding[] {
  const node = view.spec.nodes[i]!;
  const path = nodePath(view, i, "underlay", "firstUnderlay");
  const [list, position] = view.origins[i]!;
  const pool = list === "pools" ? view.written.pools[Number(position)] : undefined;
  const explicit = list === "pools" ? pool?.firstUnderlay : view.written.nodes[i]?.underlay;
  if (explicit !== undefined && parseIpv4(explicit) === undefined) {
    const what = explicit.includes("/")
      ? "write the address without prefix length"
      : "write four numbers, e.g. `10.100.0.11`";
    return [{ path, message: `${nodeName(view, i)}: ${show(explicit)} is not an IPv4 address`, hint: what }];
  }
  if (network === undefined) return [];
  const cidr = view.spec.underlay.cidr;
  if (explicit === undefined) {
    const larger = formatIpv4Network(
      networkOf(network.first, Math.min(prefixFor(10 + node.index), network.prefix - 1)),
    );
    const message = `${nodeName(view, i)} has no room in the underlay ${cidr}: its address would be network + 10 + index (${node.index})`;
    return [
      {
        path: ["underlay", "cidr"],
        message,
        hint: `write a larger network, e.g. \`${larger}\`, or the node's address`,
      },
    ];
  }
  if (pool !== undefined && explicit !== node.underlay) {
    const message = `pool \`${pool.name}\`: from ${explicit} on there is no room for ${pool.count} nodes in the underlay ${cidr}`;
    return [{ path, message, hint: "start lower, or make the underlay larger" }];
  }
  const what =
    address === network.first
      ? "the network address of"
      : address === network.last
        ? "the broadcast address of"
        : "outside";
  return [
    {
      path,
      message: `${nodeName(view, i)}: ${explicit} is ${what} the underlay ${cidr}`,
      hint: `use an address inside ${cidr}`,
    },
  ];
}

function sameAddress(view: SpecView, i: number, other: number): Finding {
  return {
    path: nodePath(view, i, "underlay", "firstUnderlay"),
    message: `${nodeName(view, i)} has the underlay address ${view.spec.nodes[i]!.underlay}, which ${nodeName(view, other)} has already`,
    hint: "give it another address, or leave it out (network + 10 + index)",
  };
}

/** Operators' machines join the underlay of a lab from its end, as they do the control plane: broadcast − slot. */
function operatorClashes(view: SpecView, network: Ipv4Network, takenBy: ReadonlyMap<number, number>): Finding[] {
  return view.spec.trust.operators.flatMap((operator, i): Finding[] => {
    const address = network.last - operator.slot;
    const who = `operator \`${printable(operator.name)}\``;
    if (address <= network.first) {
      const message = `${who} has slot ${operator.slot}, but the underlay ${view.spec.underlay.cidr} has fewer addresses`;
      return [{ path: ["trust", "operators", i, "slot"], message, hint: "use a smaller slot" }];
    }
    const node = takenBy.get(address);
    if (node === undefined) return [];
    return [
      {
        path: nodePath(view, node, "underlay", "firstUnderlay"),
        message: `${nodeName(view, node)} has the underlay address ${formatIpv4(address)}, which belongs to ${who} (slot ${operator.slot} from the end)`,
        hint: "give the node another address, or make the underlay larger",
      },
    ];
  });
}

/** Gateway and name servers are addresses; the gateway is in the underlay and no node's. */
export const gatewayAndDns: Constraint = {
  name: "gateway-and-dns",
  reads: [...placementFields, "underlay.gateway", "underlay.dns"],
  check(view) {
    const { underlay, nodes } = view.spec;
    const findings = underlay.dns.flatMap((text, i): Finding[] =>
      parseIpv4(text) === undefined
        ? [
            {
              path: ["underlay", "dns", i],
              message: `name server ${show(text)} is not an IPv4 address`,
              hint: "write four numbers, e.g. `10.100.0.2`",
            },
          ]
        : [],
    );
    if (underlay.gateway === undefined) return findings;
    const path = ["underlay", "gateway"];
    const gateway = parseIpv4(underlay.gateway);
    const network = usableUnderlay(view);
    if (gateway === undefined) {
      const hint = "write four numbers, e.g. `10.100.0.1`, or leave it out";
      findings.push({ path, message: `the gateway ${show(underlay.gateway)} is not an IPv4 address`, hint });
    } else if (network !== undefined && !isHostAddress(network, gateway)) {
      const message = `the gateway ${underlay.gateway} is not a host address of the underlay ${underlay.cidr}`;
      findings.push({ path, message, hint: `use an address inside ${underlay.cidr}` });
    }
    const node = nodes.findIndex((candidate) => candidate.underlay === underlay.gateway);
    if (node !== -1) {
      const message = `the gateway ${underlay.gateway} is also the address of ${nodeName(view, node)}`;
      findings.push({ path, message, hint: "give one of them another address" });
    }
    return findings;
  },
};

function usableUnderlay(view: SpecView): Ipv4Network | undefined {
  const network = parseIpv4Network(view.spec.underlay.cidr);
  return network === undefined || network.prefix > 30 ? undefined : network;
}

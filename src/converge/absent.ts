import { arePeers } from "../../shared/render/peers.ts";
import type { FabricProbe } from "../../shared/agent-api.ts";
import type { Spec } from "../spec/types.ts";

/** A pair that should answer each other directly and does not, as one of them sees it. */
interface SilentPair {
  node: string;
  peer: string;
  plane: string;
}

/** The pairs of peers that a node's probe found silent. What is reached through a hub says nothing of its end. */
export function silentPairs(spec: Pick<Spec, "planes" | "nodes">, node: string, probe: FabricProbe): SilentPair[] {
  const self = spec.nodes.find(({ name }) => name === node);
  return probe.pairs.flatMap(({ plane, peer, received }) => {
    const other = spec.nodes.find(({ name }) => name === peer);
    const on = spec.planes.find(({ name }) => name === plane);
    if (received > 0 || self === undefined || other === undefined || on === undefined) return [];
    return arePeers(on, self, other) ? [{ node, peer, plane }] : [];
  });
}

/**
 * Who is to blame for silent pairs: the node that most others do not hear, until nothing is left to explain. Of two that
 * only miss each other, nobody can tell which one it is: both are named.
 *
 * @param gone nodes that are known to be missing: pairs with them are explained
 * @returns node → what is seen of it
 */
export function blame(pairs: readonly SilentPair[], gone: ReadonlySet<string>): Map<string, string> {
  const blamed = new Map<string, string>();
  let left = pairs.filter(({ node, peer }) => !gone.has(node) && !gone.has(peer));
  while (left.length > 0) {
    const partners = new Map<string, Set<string>>();
    for (const { node, peer } of left) {
      partners.set(node, (partners.get(node) ?? new Set()).add(peer));
      partners.set(peer, (partners.get(peer) ?? new Set()).add(node));
    }
    const most = Math.max(...[...partners.values()].map((names) => names.size));
    const worst = [...partners].filter(([, names]) => names.size === most);
    for (const [name, names] of most === 1 ? worst : worst.slice(0, 1)) {
      const planes = left.filter(({ node, peer }) => node === name || peer === name).map(({ plane }) => plane);
      const on = [...new Set(planes)].toSorted().join(", ");
      blamed.set(name, `no packets between it and ${[...names].toSorted().join(", ")} on ${on}`);
    }
    left = left.filter(({ node, peer }) => !blamed.has(node) && !blamed.has(peer));
  }
  return blamed;
}

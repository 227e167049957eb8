import type { Finding, Path } from "../finding.ts";
import type { NormalSpec } from "../normalise.ts";
import type { WrittenSpec } from "../schema.ts";

/** What a constraint looks at: the spec as later parts see it, and as written (for what was left out). */
export interface SpecView extends NormalSpec {
  written: WrittenSpec;
}

/** One rule over the whole spec. Pure; linear in the number of nodes (or n log n). */
export interface Constraint {
  name: string;
  /**
   * Fields of the written spec it depends on, list positions left out (`nodes.index`; `nodes` covers all below).
   * It is not asked while one of them has a problem of its own, so that no finding follows from another.
   */
  reads: readonly string[];
  check(view: SpecView): Finding[];
}

/** Fields from which the expanded nodes' indexes and addresses come. */
export const placementFields = [
  "nodes.name",
  "nodes.index",
  "nodes.underlay",
  "pools.name",
  "pools.count",
  "pools.firstIndex",
  "pools.firstUnderlay",
  "underlay.cidr",
] as const;

/** Path of a field of node `i`; `poolField` is the field of its pool that it comes from. */
export function nodePath(view: SpecView, i: number, field: string, poolField: string): Path {
  const origin = view.origins[i]!;
  return [...origin, origin[0] === "pools" ? poolField : field];
}

/** `node core-1`, or `node core-1 (of pool core)`. */
export function nodeName(view: SpecView, i: number): string {
  const [list, position] = view.origins[i]!;
  const name = `node \`${view.spec.nodes[i]!.name}\``;
  return list === "pools" ? `${name} (of pool \`${view.written.pools[Number(position)]!.name}\`)` : name;
}

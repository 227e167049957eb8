import { formatAddress, parseNetwork } from "../../shared/render/ipv4.ts";
import { KubedosError } from "../../shared/error.ts";
import type { Spec } from "../spec/types.ts";

type Plane = Pick<Spec["planes"][number], "name" | "cidr">;

/** A node's address on a plane: network + index. @throws KubedosError when the plane has no such address */
export function planeAddress(plane: Plane, index: number): string {
  return hostAddress(plane.name, plane.cidr, index, "index");
}

/** An operator's address: counted from the end of the plane's range, slot 1 is the last usable address. */
export function operatorAddress(plane: Plane, slot: number): string {
  return hostAddress(plane.name, plane.cidr, parseNetwork(plane.cidr).size - 1 - slot, "operator slot");
}

/** An operator's address on the underlay, by the same rule. */
export function operatorUnderlay(spec: Pick<Spec, "underlay">, slot: number): string {
  return hostAddress("underlay", spec.underlay.cidr, parseNetwork(spec.underlay.cidr).size - 1 - slot, "operator slot");
}

/** Where a node's WireGuard of a plane listens: `address:port` on the underlay. */
export function wireguardEndpoint(node: { underlay: string }, plane: { port: number }): string {
  return `${node.underlay}:${plane.port}`;
}

/** The spec's plane of purpose `control`. @throws KubedosError when there is none */
export function controlPlaneOf(spec: Pick<Spec, "planes">): Spec["planes"][number] {
  const plane = spec.planes.find((candidate) => candidate.purpose === "control");
  if (plane !== undefined) return plane;
  throw new KubedosError("spec", "no plane has the purpose control", { hint: "add one to `planes`" });
}

function hostAddress(name: string, cidr: string, offset: number, what: string): string {
  const { base, size } = parseNetwork(cidr);
  if (Number.isInteger(offset) && offset > 0 && offset < size - 1) return formatAddress(base + offset);
  throw new KubedosError("spec", `${name} (${cidr}) has no room for this ${what}`, {
    hint: "give it a larger network",
  });
}

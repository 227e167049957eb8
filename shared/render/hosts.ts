import type { ClusterLayer } from "../cluster-layer.ts";
import { controlPlane, planeAddress } from "./peers.ts";

/**
 * hosts(5) of the cluster. Every node has a name a plane, `<node>.<plane>.<cluster>`; the short names `<node>` and
 * `<node>.<cluster>` are its control plane address.
 */
export function hosts(layer: ClusterLayer): string {
  const control = controlPlane(layer).name;
  const lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"];
  for (const plane of layer.planes) {
    for (const node of layer.nodes) {
      const short = plane.name === control ? ` ${node.name}.${layer.cluster} ${node.name}` : "";
      lines.push(`${planeAddress(plane, node)} ${node.name}.${plane.name}.${layer.cluster}${short}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

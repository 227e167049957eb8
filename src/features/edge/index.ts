import { servicePorts } from "../../../shared/services.ts";
import { featureNeeds } from "../../spec/feature-needs.ts";
import { planeOfAddress } from "../../spec/ipv4.ts";
import type { Spec } from "../../spec/types.ts";
import { unitDropIn } from "../files.ts";
import type { Feature, FeatureOpening } from "../types.ts";

/**
 * HAProxy and keepalived on the nodes of role edge. One of them holds the virtual address of `platform.edge`; the
 * agent announces which (docs/services.md).
 */
export const feature = {
  name: "edge",
  summary: "load balancers with a virtual address on the edge nodes (HAProxy, keepalived)",
  needs: featureNeeds.edge,
  packages: () => ["haproxy", "keepalived"],
  files: (_spec, assets) => [unitDropIn(assets, "haproxy.service"), unitDropIn(assets, "keepalived.service")],
  units: { enable: ["haproxy.service", "keepalived.service"], mask: [] },
  sysctls: {},
  modules: [],
  openings: [
    {
      service: "edge-metrics",
      plane: "observability",
      protocol: "tcp",
      port: servicePorts.edgeMetrics,
      from: ["hub"],
      roles: ["edge"],
    },
  ],
  specOpenings,
  gates: ["vip"],
  default: false,
} satisfies Feature;

/** The services behind the address, and the announcements of who holds it. */
function specOpenings(spec: Spec): FeatureOpening[] {
  const { edge } = spec.platform;
  const purpose = edge === undefined ? undefined : planeOfAddress(spec.planes, edge.vip)?.purpose;
  if (edge === undefined || (purpose !== "control" && purpose !== "observability" && purpose !== "backend")) return [];
  return [
    { service: "vip", plane: purpose, protocol: "udp", port: servicePorts.vipAnnouncement, from: ["nodes"] },
    ...edge.services.map(({ name, port }): FeatureOpening => ({
      service: name,
      plane: purpose,
      protocol: "tcp",
      port,
      roles: ["edge"],
    })),
  ];
}

import { featureNeeds } from "../../spec/feature-needs.ts";
import { unitDropIn } from "../files.ts";
import type { Feature } from "../types.ts";

/** TCP port of the node exporter on the observability plane. */
export const nodeExporterPort = 9100;

/** Prometheus node exporter on the observability plane only. */
export const feature = {
  name: "node-metrics",
  summary: "Prometheus node exporter on the observability plane",
  needs: featureNeeds["node-metrics"],
  packages: () => ["prometheus-node-exporter"],
  files: (_spec, assets) => [unitDropIn(assets, "prometheus-node-exporter.service")],
  units: { enable: ["prometheus-node-exporter.service"], mask: [] },
  sysctls: {},
  modules: [],
  openings: [
    {
      service: "node-metrics",
      plane: "observability",
      protocol: "tcp",
      port: nodeExporterPort,
      from: ["hub"],
    },
  ],
  gates: [],
} satisfies Feature;

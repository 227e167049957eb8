import { servicePorts } from "../../../shared/services.ts";
import { featureNeeds } from "../../spec/feature-needs.ts";
import { textFile, unitDropIn } from "../files.ts";
import type { Feature } from "../types.ts";

/**
 * Prometheus, Alertmanager and the blackbox exporter on the hubs. What is scraped is rendered from the cluster layer;
 * every node on every plane is checked from the hub, and every node reports its peers itself.
 */
export const feature = {
  name: "observability",
  summary: "Prometheus, Alertmanager and blackbox checks of every plane on the hubs",
  needs: featureNeeds.observability,
  packages: () => ["prometheus", "prometheus-alertmanager", "prometheus-blackbox-exporter"],
  files: (_spec, assets) => [
    textFile("/usr/share/kubedos/observability/rules.yml", assets("node/observability/rules.yml")),
    textFile("/usr/share/kubedos/observability/alertmanager.yml", assets("node/observability/alertmanager.yml")),
    textFile("/usr/share/kubedos/observability/blackbox.yml", assets("node/observability/blackbox.yml")),
    unitDropIn(assets, "prometheus.service"),
    unitDropIn(assets, "prometheus-alertmanager.service"),
    unitDropIn(assets, "prometheus-blackbox-exporter.service"),
  ],
  units: {
    enable: ["prometheus-alertmanager.service", "prometheus-blackbox-exporter.service", "prometheus.service"],
    mask: [],
  },
  sysctls: {},
  modules: [],
  openings: [
    {
      service: "prometheus",
      plane: "observability",
      protocol: "tcp",
      port: servicePorts.prometheus,
      from: ["hub", "operators"],
      roles: ["hub"],
    },
    {
      service: "alertmanager",
      plane: "observability",
      protocol: "tcp",
      port: servicePorts.alertmanager,
      from: ["hub", "operators"],
      roles: ["hub"],
    },
  ],
  gates: ["targets"],
  default: false,
} satisfies Feature;

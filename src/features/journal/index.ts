import { servicePorts } from "../../../shared/services.ts";
import { featureNeeds } from "../../spec/feature-needs.ts";
import { textFile, unitDropIn, unitFile } from "../files.ts";
import type { Feature } from "../types.ts";

/**
 * Every node sends its journal to the hub over the observability plane, with mutual TLS. The hub keeps one journal a
 * node in /var/lib/kubedos/journal: `journalctl --directory`.
 */
export const feature = {
  name: "journal",
  summary: "every node's journal on the hub, over the observability plane with mutual TLS",
  needs: featureNeeds.journal,
  packages: () => ["haproxy", "systemd-journal-remote"],
  files: (_spec, assets) => [
    unitFile(assets, "kubedos-journal-remote.service"),
    unitFile(assets, "kubedos-journal-tls.service"),
    unitDropIn(assets, "systemd-journal-upload.service"),
    // The package's own instance is feature edge's.
    textFile(
      "/usr/lib/systemd/system/haproxy.service.d/20-kubedos-edge.conf",
      "[Unit]\nConditionPathExists=/run/kubedos/edge/haproxy.cfg\n",
    ),
    // journal-remote.conf(5): the newest are kept.
    textFile("/usr/lib/systemd/journal-remote.conf.d/10-kubedos.conf", "[Remote]\nMaxUse=256M\nMaxFileSize=16M\n"),
  ],
  units: {
    enable: ["kubedos-journal-remote.service", "kubedos-journal-tls.service", "systemd-journal-upload.service"],
    mask: ["systemd-journal-remote.socket", "systemd-journal-gatewayd.socket"],
  },
  sysctls: {},
  modules: [],
  openings: [
    {
      service: "journal",
      plane: "observability",
      protocol: "tcp",
      port: servicePorts.journal,
      from: ["nodes"],
      roles: ["hub"],
    },
  ],
  gates: ["logs"],
  default: false,
} satisfies Feature;

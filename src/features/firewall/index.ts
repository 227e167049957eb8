import { featureNeeds } from "../../spec/feature-needs.ts";
import { unitFile } from "../files.ts";
import type { Feature } from "../types.ts";

/**
 * nftables, default deny on every interface. The rules are rendered at boot and loaded before the network comes up;
 * if they cannot be loaded, systemd-networkd does not start.
 */
export const feature = {
  name: "firewall",
  summary: "nftables: default deny on every interface, openings bound to planes",
  needs: featureNeeds.firewall,
  packages: () => ["nftables"],
  files: (_spec, assets) => [unitFile(assets, "kubedos-firewall.service")],
  units: { enable: ["kubedos-firewall.service"], mask: ["nftables.service"] },
  sysctls: {},
  modules: ["nf_tables"],
  openings: [],
  gates: ["firewall"],
} satisfies Feature;

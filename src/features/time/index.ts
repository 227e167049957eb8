import { featureNeeds } from "../../spec/feature-needs.ts";
import { textFile, unitDropIn } from "../files.ts";
import type { Feature } from "../types.ts";

/**
 * chrony. Hubs serve the time on the control plane, every other node follows the hubs; no server outside the
 * cluster is asked. A hub that starts later than the others asks them first. Which it is, and the addresses, is rendered at boot.
 */
export const feature = {
  name: "time",
  summary: "chrony: hubs serve the time on the control plane, the other nodes follow them",
  needs: featureNeeds.time,
  packages: () => ["chrony"],
  files: (_spec, assets) => [textFile("/etc/chrony/chrony.conf", chronyConfig), unitDropIn(assets, "chrony.service")],
  units: { enable: ["chrony.service"], mask: ["chrony-wait.service", "chronyd-restricted.service"] },
  sysctls: {},
  modules: [],
  openings: [
    { service: "ntp", plane: "control", protocol: "udp", port: 123, from: ["nodes"], roles: ["hub"] },
    // A hub that starts among running nodes takes the time from them.
    { service: "ntp-witness", plane: "control", protocol: "udp", port: 123, from: ["hub"] },
  ],
  gates: [],
} satisfies Feature;

// chrony.conf(5). cmdport 0: chronyc works over its unix socket only. makestep, maxchange: the first three measurements may
// set the clock, later ones move it slowly, and one that is a minute off is not believed: a hub whose clock goes wrong does
// not take the cluster with it.
const chronyConfig = `confdir /run/kubedos/chrony
cmdport 0
driftfile /var/lib/chrony/chrony.drift
makestep 1.0 3
maxchange 60 3 -1
rtcsync
`;

import { featureNeeds } from "../../spec/feature-needs.ts";
import { unitDropIn, unitFile } from "../files.ts";
import type { Feature } from "../types.ts";

/**
 * WireGuard planes. systemd-networkd makes the interfaces from what the node renders at boot; in a container on a
 * kernel without WireGuard, kubedos-wireguard@.service runs wireguard-go in its place. The UDP ports are opened on
 * the underlay by the renderer, because they come from the spec.
 */
export const feature = {
  name: "planes",
  summary: "WireGuard planes between all nodes, up before anything else",
  needs: featureNeeds.planes,
  packages: () => ["wireguard-tools"],
  files: (_spec, assets) => [
    unitDropIn(assets, "systemd-networkd.service"),
    unitFile(assets, "kubedos-wireguard@.service"),
  ],
  units: { enable: [], mask: ["wg-quick.target"] },
  sysctls: {
    "net.ipv4.conf.all.accept_redirects": "0",
    "net.ipv4.conf.all.accept_source_route": "0",
    "net.ipv4.conf.all.rp_filter": "1",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.accept_redirects": "0",
    "net.ipv4.conf.default.accept_source_route": "0",
    "net.ipv4.conf.default.rp_filter": "1",
    "net.ipv4.conf.default.send_redirects": "0",
    // Services may bind to a plane's address before it is up, and keep it when the plane is made anew.
    "net.ipv4.ip_nonlocal_bind": "1",
    "net.ipv6.conf.all.accept_ra": "0",
    "net.ipv6.conf.all.accept_redirects": "0",
    "net.ipv6.conf.default.accept_ra": "0",
    "net.ipv6.conf.default.accept_redirects": "0",
  },
  modules: ["wireguard"],
  openings: [],
  gates: ["fabric"],
} satisfies Feature;

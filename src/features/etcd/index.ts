import { servicePorts } from "../../../shared/services.ts";
import { featureNeeds } from "../../spec/feature-needs.ts";
import { unitDropIn } from "../files.ts";
import type { Feature } from "../types.ts";

/**
 * etcd on the nodes of role core, bound to the backend plane, mutual TLS between members and with clients. Its data is
 * in /var/lib/kubedos/etcd.
 */
export const feature = {
  name: "etcd",
  summary: "etcd on the core nodes: backend plane, mutual TLS",
  needs: featureNeeds.etcd,
  packages: () => ["etcd-client", "etcd-server"],
  files: (_spec, assets) => [unitDropIn(assets, "etcd.service")],
  units: { enable: ["etcd.service"], mask: [] },
  sysctls: {},
  modules: [],
  openings: [
    {
      service: "etcd",
      plane: "backend",
      protocol: "tcp",
      port: servicePorts.etcdClient,
      from: ["nodes"],
      roles: ["core"],
    },
    {
      service: "etcd-peer",
      plane: "backend",
      protocol: "tcp",
      port: servicePorts.etcdPeer,
      from: ["nodes"],
      roles: ["core"],
    },
    {
      service: "etcd-metrics",
      plane: "observability",
      protocol: "tcp",
      port: servicePorts.etcdMetrics,
      from: ["hub"],
      roles: ["core"],
    },
  ],
  gates: ["etcd"],
  default: false,
} satisfies Feature;

/**
 * Ports and paths of the platform's services, known to the features that put them into the image and to the agent
 * that configures them.
 */
export const servicePorts = {
  etcdClient: 2379,
  etcdPeer: 2380,
  etcdMetrics: 2381,
  edgeMetrics: 8404,
  /** UDP: which edge node holds the virtual address. */
  vipAnnouncement: 7444,
  nodeExporter: 9100,
  prometheus: 9090,
  alertmanager: 9093,
  /** On the loopback interface. */
  blackbox: 9115,
  journal: 19532,
  /** On the loopback interface, behind TLS. */
  journalPlain: 19531,
} as const;

/** Configuration that a node renders for its services; the units in the image refer to these. */
export const servicePaths = {
  /** An empty file a role of the node, for `ConditionPathExists=`. */
  roles: "/run/kubedos/roles",
  etcd: "/run/kubedos/etcd/etcd.env",
  haproxy: "/run/kubedos/edge/haproxy.cfg",
  keepalived: "/run/kubedos/edge/keepalived.conf",
  prometheus: "/run/kubedos/observability/prometheus.yml",
  observabilityEnv: "/run/kubedos/observability/observability.env",
  journalUpload: "/run/kubedos/journal/upload.env",
  journalTls: "/run/kubedos/journal/haproxy.cfg",
  /** Text files for the node exporter. */
  metrics: "/run/kubedos/metrics",
} as const;

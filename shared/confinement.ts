/**
 * AppArmor profiles of the feature `security` and the units that run under them, where the kernel has AppArmor: their
 * files are in node/apparmor. chronyd's is Debian's own and goes by its path.
 * @see apparmor.d(5)
 */
export const confinedUnits = {
  "chrony.service": "/usr/sbin/chronyd",
  "etcd.service": "kubedos-service",
  "haproxy.service": "kubedos-haproxy",
  "kubedos-agent.service": "kubedos-agent",
  "kubedos-journal-tls.service": "kubedos-haproxy",
  "prometheus-alertmanager.service": "kubedos-service",
  "prometheus-blackbox-exporter.service": "kubedos-service",
  "prometheus-node-exporter.service": "kubedos-service",
  "prometheus.service": "kubedos-service",
} as const satisfies Record<string, string>;

import type { ClusterLayer, LayerNode, LayerPlane } from "../../shared/cluster-layer.ts";
import { pkiDirectory, pkiFile } from "../../shared/pki.ts";
import { isHub, planeAddress, transitHub } from "../../shared/render/peers.ts";
import { servicePaths, servicePorts } from "../../shared/services.ts";

/** A file of a service, readable by all. */
export interface ServiceFile {
  path: string;
  content: string;
}

/** Credentials of etcd.service (its drop-in): where the service itself sees certificate and key. */
const etcdCredentials = "/run/credentials/etcd.service";

/** One empty file a role, for the conditions of units. */
export function roleFiles(node: LayerNode): ServiceFile[] {
  return node.roles.map((role) => ({ path: `${servicePaths.roles}/${role}`, content: "" }));
}

/**
 * etcd's settings as environment variables, on core nodes. All members are known beforehand, so they find each other
 * without discovery.
 * @see https://etcd.io/docs/v3.5/op-guide/configuration/
 */
export function etcdFiles(layer: ClusterLayer, node: LayerNode): ServiceFile[] {
  const backend = layer.planes.find((plane) => plane.purpose === "backend");
  const observability = layer.planes.find((plane) => plane.purpose === "observability");
  if (!layer.features.includes("etcd") || !node.roles.includes("core")) return [];
  if (backend === undefined || observability === undefined) return [];
  const members = layer.nodes.filter((other) => other.roles.includes("core"));
  const own = planeAddress(backend, node);
  const peer = (member: LayerNode) => `https://${planeAddress(backend, member)}:${servicePorts.etcdPeer}`;
  const certificate = `${etcdCredentials}/etcd.crt`;
  const key = `${etcdCredentials}/etcd.key`;
  const trusted = pkiFile("etcd", "ca.crt");
  const settings = {
    NAME: node.name,
    DATA_DIR: "/var/lib/kubedos/etcd",
    LISTEN_PEER_URLS: peer(node),
    LISTEN_CLIENT_URLS: `https://${own}:${servicePorts.etcdClient}`,
    ADVERTISE_CLIENT_URLS: `https://${own}:${servicePorts.etcdClient}`,
    INITIAL_ADVERTISE_PEER_URLS: peer(node),
    INITIAL_CLUSTER: members.map((member) => `${member.name}=${peer(member)}`).join(","),
    INITIAL_CLUSTER_TOKEN: layer.clusterId,
    INITIAL_CLUSTER_STATE: "new",
    LISTEN_METRICS_URLS: `http://${planeAddress(observability, node)}:${servicePorts.etcdMetrics}`,
    CERT_FILE: certificate,
    KEY_FILE: key,
    TRUSTED_CA_FILE: trusted,
    CLIENT_CERT_AUTH: "true",
    PEER_CERT_FILE: certificate,
    PEER_KEY_FILE: key,
    PEER_TRUSTED_CA_FILE: trusted,
    PEER_CLIENT_CERT_AUTH: "true",
    // Machines may be slow and far from each other: ten times the heartbeat.
    HEARTBEAT_INTERVAL: "250",
    ELECTION_TIMEOUT: "2500",
    AUTO_COMPACTION_MODE: "periodic",
    AUTO_COMPACTION_RETENTION: "1h",
    QUOTA_BACKEND_BYTES: String(512 * 1024 * 1024),
    LOG_LEVEL: "warn",
  };
  const content = Object.entries(settings).map(([name, value]) => `ETCD_${name}=${value}\n`);
  return [{ path: servicePaths.etcd, content: content.join("") }];
}

/** HAProxy and keepalived, on edge nodes. */
export function edgeFiles(layer: ClusterLayer, node: LayerNode): ServiceFile[] {
  const { edge } = layer;
  const plane = layer.planes.find((candidate) => candidate.name === edge?.plane);
  const observability = layer.planes.find((candidate) => candidate.purpose === "observability");
  if (!layer.features.includes("edge") || !node.roles.includes("edge")) return [];
  if (edge === undefined || plane === undefined || observability === undefined) return [];
  return [
    { path: servicePaths.haproxy, content: haproxy(layer, edge, plane, observability, node) },
    { path: servicePaths.keepalived, content: keepalived(layer, edge.vip, plane, node) },
  ];
}

/**
 * TCP is passed on as it is: TLS stays between client and server. Each service is served on the virtual address and on
 * the node's own, so that every balancer can be looked at by itself.
 * @see https://docs.haproxy.org/3.0/configuration.html
 */
function haproxy(
  layer: ClusterLayer,
  { vip, services }: NonNullable<ClusterLayer["edge"]>,
  plane: LayerPlane,
  observability: LayerPlane,
  node: LayerNode,
): string {
  const lines = [
    "global",
    "  user haproxy",
    "  group haproxy",
    "  maxconn 2000",
    "  nbthread 1",
    "  log stdout format raw local0 warning",
    "",
    "defaults",
    "  mode tcp",
    "  log global",
    "  option dontlognull",
    "  timeout connect 3s",
    "  timeout client 5m",
    "  timeout server 5m",
    "  timeout check 2s",
    "",
    "frontend metrics",
    "  mode http",
    "  timeout client 10s",
    `  bind ${planeAddress(observability, node)}:${servicePorts.edgeMetrics}`,
    "  http-request use-service prometheus-exporter if { path /metrics }",
    "  http-request return status 404",
  ];
  for (const service of services) {
    const targets = layer.nodes.filter((other) => other.roles.includes(service.targetRole));
    lines.push(
      "",
      `listen ${service.name}`,
      `  bind ${planeAddress(plane, node)}:${service.port}`,
      `  bind ${vip}:${service.port}`,
      "  balance roundrobin",
      "  option redispatch",
      "  default-server check inter 1s fall 2 rise 2 on-marked-down shutdown-sessions",
      ...targets.map(({ name }, i) => `  server ${name} ${planeAddress(plane, targets[i]!)}:${service.targetPort}`),
    );
  }
  return `${lines.join("\n")}\n`;
}

/**
 * VRRP version 3 between the edge nodes (RFC 5798), unicast, because WireGuard carries no multicast. The plane proves
 * who speaks, so VRRP needs no password. The lowest index leads; advertisements every 500 ms, so that another takes
 * over within two seconds.
 */
function keepalived(layer: ClusterLayer, vip: string, plane: LayerPlane, node: LayerNode): string {
  const edges = layer.nodes.filter((other) => other.roles.includes("edge")).toSorted((a, b) => a.index - b.index);
  const others = edges.filter((other) => other.name !== node.name);
  const priority = 200 - edges.findIndex((other) => other.name === node.name);
  return [
    "global_defs {",
    `  router_id ${node.name}`,
    "  vrrp_version 3",
    "  script_user root",
    "  enable_script_security",
    "  # The plane may come up after this.",
    "  dynamic_interfaces",
    "}",
    "",
    "vrrp_script haproxy {",
    `  script "/usr/bin/pgrep --exact --pidfile /run/haproxy.pid haproxy"`,
    "  interval 1",
    "  fall 2",
    "  rise 2",
    "}",
    "",
    "vrrp_instance vip {",
    "  state BACKUP",
    `  interface ${plane.name}`,
    "  virtual_router_id 51",
    `  priority ${priority}`,
    "  advert_int 0.5",
    `  unicast_src_ip ${planeAddress(plane, node)}`,
    "  unicast_peer {",
    ...others.map((other) => `    ${planeAddress(plane, other)}`),
    "  }",
    "  virtual_ipaddress {",
    `    ${vip}/32 dev ${plane.name}`,
    "  }",
    "  track_script {",
    "    haproxy",
    "  }",
    "}",
    "",
  ].join("\n");
}

/** Prometheus, Alertmanager and the blackbox exporter, on hubs. */
export function observabilityFiles(layer: ClusterLayer, node: LayerNode): ServiceFile[] {
  const plane = layer.planes.find((candidate) => candidate.purpose === "observability");
  if (!layer.features.includes("observability") || !isHub(node) || plane === undefined) return [];
  const own = planeAddress(plane, node);
  const shared = "/usr/share/kubedos/observability";
  const prometheusArgs = [
    `--config.file=${servicePaths.prometheus}`,
    `--web.listen-address=${own}:${servicePorts.prometheus}`,
    "--storage.tsdb.path=/var/lib/kubedos/prometheus",
    "--storage.tsdb.retention.time=15d",
    "--storage.tsdb.retention.size=512MB",
    "--log.level=warn",
  ];
  const alertmanagerArgs = [
    `--config.file=${shared}/alertmanager.yml`,
    `--web.listen-address=${own}:${servicePorts.alertmanager}`,
    "--storage.path=/var/lib/kubedos/alertmanager",
    "--cluster.listen-address=",
    "--log.level=warn",
  ];
  const blackboxArgs = [
    `--config.file=${shared}/blackbox.yml`,
    `--web.listen-address=127.0.0.1:${servicePorts.blackbox}`,
    "--log.level=warn",
  ];
  const environment = [
    `PROMETHEUS_ARGS="${prometheusArgs.join(" ")}"`,
    `ALERTMANAGER_ARGS="${alertmanagerArgs.join(" ")}"`,
    `BLACKBOX_ARGS="${blackboxArgs.join(" ")}"`,
    "",
  ];
  return [
    { path: servicePaths.observabilityEnv, content: environment.join("\n") },
    { path: servicePaths.prometheus, content: prometheusConfig(layer, plane, node) },
  ];
}

/**
 * JSON is YAML. One job a service, one target a node, labelled with the node's name.
 * @see https://prometheus.io/docs/prometheus/latest/configuration/configuration/
 */
function prometheusConfig(layer: ClusterLayer, plane: LayerPlane, hub: LayerNode): string {
  const own = planeAddress(plane, hub);
  const target = (address: string, port: number, labels: Record<string, string>) => ({
    targets: [`${address}:${port}`],
    labels,
  });
  const job = (name: string, port: number, nodes: readonly LayerNode[]) =>
    nodes.length === 0
      ? []
      : [
          {
            job_name: name,
            static_configs: nodes.map((node) => target(planeAddress(plane, node), port, { node: node.name })),
          },
        ];
  const roleNodes = (role: string) => layer.nodes.filter((node) => node.roles.includes(role));
  const has = (feature: string) => layer.features.includes(feature);
  const probes = layer.planes.flatMap((probed) =>
    layer.nodes.map((node) => ({
      targets: [planeAddress(probed, node)],
      labels: { node: node.name, plane: probed.name },
    })),
  );
  const config = {
    global: { scrape_interval: "5s", scrape_timeout: "4s", evaluation_interval: "5s" },
    rule_files: ["/usr/share/kubedos/observability/rules.yml"],
    alerting: { alertmanagers: [{ static_configs: [{ targets: [`${own}:${servicePorts.alertmanager}`] }] }] },
    scrape_configs: [
      ...job("node", servicePorts.nodeExporter, layer.nodes),
      ...(has("etcd") ? job("etcd", servicePorts.etcdMetrics, roleNodes("core")) : []),
      ...(has("edge") ? job("haproxy", servicePorts.edgeMetrics, roleNodes("edge")) : []),
      { job_name: "prometheus", static_configs: [target(own, servicePorts.prometheus, { node: hub.name })] },
      { job_name: "alertmanager", static_configs: [target(own, servicePorts.alertmanager, { node: hub.name })] },
      {
        job_name: "plane",
        metrics_path: "/probe",
        params: { module: ["ping"] },
        static_configs: probes,
        relabel_configs: [
          { source_labels: ["__address__"], target_label: "__param_target" },
          { source_labels: ["__param_target"], target_label: "instance" },
          { target_label: "__address__", replacement: `127.0.0.1:${servicePorts.blackbox}` },
        ],
      },
    ],
  };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}

/** Journals go to one hub; that one receives. */
export function journalFiles(layer: ClusterLayer, node: LayerNode): ServiceFile[] {
  const plane = layer.planes.find((candidate) => candidate.purpose === "observability");
  const receiver = transitHub(layer);
  if (!layer.features.includes("journal") || plane === undefined || receiver === undefined) return [];
  const at = `${planeAddress(plane, receiver)}:${servicePorts.journal}`;
  return receiver.name === node.name
    ? [{ path: servicePaths.journalTls, content: journalTls(layer, at) }]
    : [{ path: servicePaths.journalUpload, content: `JOURNAL_URL=https://${at}\n` }];
}

/** HAProxy takes TLS off the journals, after both sides have shown a certificate of the telemetry authority. */
function journalTls(layer: ClusterLayer, at: string): string {
  const certificate = "/run/credentials/kubedos-journal-tls.service/telemetry.pem";
  // HAProxy verifies up to the root; that the issuer is the telemetry authority is a check of its own.
  const trust = `ca-file ${pkiFile("telemetry", "ca.crt")} ca-verify-file ${pkiDirectory}/root.ca.crt`;
  return [
    "global",
    "  maxconn 2000",
    "  nbthread 1",
    "  log stdout format raw local0 notice",
    "",
    "listen journal",
    "  mode tcp",
    "  log global",
    "  timeout connect 3s",
    "  timeout client 1h",
    "  timeout server 1h",
    `  bind ${at} ssl crt ${certificate} ${trust} verify required ssl-min-ver TLSv1.3`,
    `  tcp-request session reject unless { ssl_c_i_dn(cn) -m str "${layer.cluster} telemetry" }`,
    `  server local 127.0.0.1:${servicePorts.journalPlain}`,
    "",
  ].join("\n");
}

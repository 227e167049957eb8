import { expect, test } from "vitest";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { exampleLayer } from "../../shared/render/testing.ts";
import { edgeFiles, etcdFiles, journalFiles, observabilityFiles, roleFiles } from "./service-config.ts";

const layer: ClusterLayer = {
  ...exampleLayer({ nodes: 6, roles: ["core", "core", "core", "edge", "edge"] }),
  features: ["agent", "base", "edge", "etcd", "journal", "node-metrics", "observability"],
  edge: {
    plane: "wg3",
    vip: "10.103.0.200",
    services: [{ name: "etcd", port: 2379, targetRole: "core", targetPort: 2379 }],
  },
};

function files(name: string, of: ClusterLayer = layer): Record<string, string> {
  const node = of.nodes.find((candidate) => candidate.name === name)!;
  const parts = [etcdFiles, edgeFiles, observabilityFiles, journalFiles];
  const all = [...roleFiles(node), ...parts.flatMap((part) => part(of, node))];
  return Object.fromEntries(all.map(({ path, content }) => [path.replace("/run/kubedos/", ""), content]));
}

test("a core node: etcd on the backend plane with mutual TLS, all members known", () => {
  expect(files("core-2")).toMatchSnapshot();
});

test("an edge node: balancers on its own and the virtual address, VRRP with the other by unicast", () => {
  expect(files("edge-4")).toMatchSnapshot();
});

test("a hub: what Prometheus scrapes is every service of every node that has it, and every node on every plane", () => {
  const hub = files("hub-1");
  expect(Object.keys(hub)).toEqual([
    "roles/hub",
    "observability/observability.env",
    "observability/prometheus.yml",
    "journal/haproxy.cfg",
  ]);
  expect(hub["observability/observability.env"]).toMatchSnapshot();
  const config = JSON.parse(hub["observability/prometheus.yml"]!) as {
    scrape_configs: { job_name: string; static_configs: { targets: string[]; labels: Record<string, string> }[] }[];
  };
  const jobs = config.scrape_configs.map(({ job_name, static_configs }) => [
    job_name,
    static_configs.map(({ targets, labels }) => `${labels["node"]} ${targets.join(",")}`),
  ]);
  expect(Object.fromEntries(jobs)).toMatchObject({
    node: expect.arrayContaining(["hub-1 10.102.0.1:9100", "edge-5 10.102.0.6:9100"]),
    etcd: ["core-1 10.102.0.2:2381", "core-2 10.102.0.3:2381", "core-3 10.102.0.4:2381"],
    haproxy: ["edge-4 10.102.0.5:8404", "edge-5 10.102.0.6:8404"],
  });
  expect(config.scrape_configs.find(({ job_name }) => job_name === "plane")!.static_configs).toHaveLength(3 * 6);
});

test("journals are taken from those whose certificate the telemetry authority has issued", () => {
  expect(files("hub-1")["journal/haproxy.cfg"]).toMatchSnapshot();
  expect(files("core-1")["journal/upload.env"]).toBe("JOURNAL_URL=https://10.102.0.1:19532\n");
});

test("nothing is rendered for features that are not there", () => {
  const bare = { ...layer, features: ["agent", "base"] };
  expect(files("hub-1", bare)).toEqual({ "roles/hub": "" });
  expect(files("core-1", bare)).toEqual({ "roles/core": "" });
  expect(files("edge-4", bare)).toEqual({ "roles/edge": "" });
});

test("no secret is in what others can read", () => {
  for (const { name } of layer.nodes) expect(JSON.stringify(files(name))).not.toMatch(/PRIVATE KEY|password/i);
});

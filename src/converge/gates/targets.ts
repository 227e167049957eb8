import type { ClusterLayer, LayerNode } from "../../../shared/cluster-layer.ts";
import { planeAddress, transitHub } from "../../../shared/render/peers.ts";
import { servicePaths, servicePorts } from "../../../shared/services.ts";
import { stopwatch } from "../../host/clock.ts";
import { poll } from "./poll.ts";
import type { Gate, GateCheck, GateContext } from "./types.ts";

const upLimitSeconds = 120;
const alertLimitSeconds = 60;
const rehearsalFile = `${servicePaths.metrics}/rehearsal.prom`;
const alertName = "AlertRehearsal";

/** One series of Prometheus' HTTP API. */
interface Series {
  metric: Record<string, string>;
  value: [number, string];
}

/** Prometheus reaches everything it should, and an alert goes all the way and away again. */
export const targetsGate: Gate = {
  name: "targets",
  summary: "every Prometheus target is up, every plane answers it, an alert fires and clears",
  async run(context) {
    const hub = transitHub(context.layer);
    const plane = context.layer.planes.find(({ purpose }) => purpose === "observability");
    if (hub === undefined || plane === undefined) {
      return [{ what: "Prometheus", ok: false, evidence: "there is no hub or no observability plane" }];
    }
    const at = planeAddress(plane, hub);
    const targets = await upChecks(context, hub, at);
    return [...targets, ...(await alertChecks(context, hub, at))];
  },
};

async function upChecks(context: GateContext, hub: LayerNode, at: string): Promise<GateCheck[]> {
  const wanted = expected(context.layer);
  const seen = await poll(
    context,
    upLimitSeconds,
    async () => {
      const query = `up{job!="plane"} or probe_success{job="plane"}`;
      const result = await promtool(context, hub, at, query);
      return new Map(result.map(({ metric, value }) => [name(metric), value[1]]));
    },
    (values) => wanted.every((target) => values.get(target) === "1"),
  );
  return wanted.map((target) => {
    const value = seen.get(target);
    const evidence = value === undefined ? "not scraped" : value === "1" ? "up" : "down";
    return { what: target, ok: value === "1", evidence };
  });
}

async function alertChecks(context: GateContext, hub: LayerNode, at: string): Promise<GateCheck[]> {
  const { shell } = context;
  const active = async () => {
    const url = `--alertmanager.url=http://${at}:${servicePorts.alertmanager}`;
    const { status, stdout, stderr } = await shell(hub.name, [
      "amtool",
      url,
      "alert",
      "query",
      "-o",
      "json",
      alertName,
    ]);
    if (status !== 0) throw new Error(`amtool: ${stderr.trim()}`);
    return (JSON.parse(stdout || "[]") as unknown[]).length > 0;
  };
  const elapsed = stopwatch();
  try {
    await shell(hub.name, ["sudo", "tee", rehearsalFile], { input: "kubedos_alert_rehearsal 1\n" });
    const fired = await poll(context, alertLimitSeconds, active, (value) => value);
    const firedAfter = elapsed();
    await shell(hub.name, ["sudo", "rm", "--force", rehearsalFile]);
    const still = await poll(context, alertLimitSeconds, active, (value) => !value);
    return [
      {
        what: "an alert fires",
        ok: fired,
        evidence: `${fired ? "seen by" : "not seen by"} Alertmanager after ${firedAfter.toFixed(1)} s`,
      },
      {
        what: "it clears",
        ok: fired && !still,
        evidence: `${still ? "still there" : "gone"} after ${(elapsed() - firedAfter).toFixed(1)} s`,
      },
    ];
  } finally {
    if (!context.signal.aborted) await shell(hub.name, ["sudo", "rm", "--force", rehearsalFile]).catch(() => undefined);
  }
}

async function promtool(context: GateContext, hub: LayerNode, at: string, query: string): Promise<Series[]> {
  const url = `http://${at}:${servicePorts.prometheus}`;
  const args = ["promtool", "query", "instant", "--format=json", url, query];
  const { status, stdout, stderr } = await context.shell(hub.name, args);
  if (status !== 0) throw new Error(`promtool: ${stderr.trim()}`);
  return JSON.parse(stdout) as Series[];
}

/** What the cluster layer says that there is to scrape, by the names that `name` gives. */
function expected(layer: ClusterLayer): string[] {
  const having = (role: string) => layer.nodes.filter((node) => node.roles.includes(role));
  const has = (feature: string) => layer.features.includes(feature);
  return [
    ...layer.nodes.map((node) => `node of ${node.name}`),
    ...(has("etcd") ? having("core").map((node) => `etcd of ${node.name}`) : []),
    ...(has("edge") ? having("edge").map((node) => `haproxy of ${node.name}`) : []),
    ...layer.planes.flatMap((plane) => layer.nodes.map((node) => `${plane.name} of ${node.name}`)),
  ];
}

function name(metric: Record<string, string>): string {
  return `${metric["job"] === "plane" ? metric["plane"] : metric["job"]} of ${metric["node"]}`;
}

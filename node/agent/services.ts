import type { ClusterLayer, LayerNode, LayerPlane } from "../../shared/cluster-layer.ts";
import { controlPlane, isHub, planeAddress } from "../../shared/render/peers.ts";
import type { RenderedFile } from "../../shared/render/render.ts";
import { servicePaths, servicePorts } from "../../shared/services.ts";
import { edgeFiles, etcdFiles, journalFiles, observabilityFiles, roleFiles } from "./service-config.ts";
import { renderRepository } from "./repository.ts";

const mostTimeServers = 5;

/** Configuration of the services of this image that listen on, or talk over, one plane. Pure. */
export function renderServices(layer: ClusterLayer, node: LayerNode): RenderedFile[] {
  const files: RenderedFile[] = [];
  function add(path: string, content: string): void {
    files.push({ path, mode: 0o644, content });
  }
  add("/run/kubedos/resolv.conf", layer.underlay.dns.map((address) => `nameserver ${address}\n`).join(""));
  files.push(...renderRepository(layer, node));
  if (layer.features.includes("time")) add("/run/kubedos/chrony/kubedos.conf", chrony(layer, node));
  const observability = layer.planes.find((plane) => plane.purpose === "observability") ?? controlPlane(layer);
  if (layer.features.includes("node-metrics")) {
    add("/run/kubedos/node-exporter.env", nodeExporter(observability, node));
  }
  const more = [
    ...roleFiles(node),
    ...etcdFiles(layer, node),
    ...edgeFiles(layer, node),
    ...observabilityFiles(layer, node),
    ...journalFiles(layer, node),
  ];
  for (const { path, content } of more) add(path, content);
  return files;
}

/**
 * chrony.conf(5). Hubs serve on the control plane and follow each other; where none of them knows the time, the one
 * with the smallest reference id leads ("orphan" mode). All others ask the hubs.
 *
 * A hub that starts among nodes that have the time takes it from them first (`initstepslew`): its own clock may be hours
 * off, and nothing above it would set it. Nodes that have not been set themselves yet do not count.
 */
function chrony(layer: ClusterLayer, node: LayerNode): string {
  const control = controlPlane(layer);
  const addresses = (nodes: readonly LayerNode[]) => nodes.map((other) => planeAddress(control, other));
  const others = layer.nodes.filter(({ name }) => name !== node.name);
  const hubs = addresses(others.filter(isHub)).slice(0, mostTimeServers);
  const witnesses = [...hubs, ...addresses(others.filter((other) => !isHub(other)))].slice(0, mostTimeServers);
  const own = `bindaddress ${planeAddress(control, node)}`;
  const role = isHub(node)
    ? [
        ...(witnesses.length > 0 ? [`initstepslew 1 ${witnesses.join(" ")}`] : []),
        own,
        `allow ${control.cidr}`,
        "local stratum 8 orphan",
      ]
    : [own, ...hubs.map((hub) => `allow ${hub}`)];
  return `${[...hubs.map((hub) => `server ${hub} iburst minpoll 4 maxpoll 8`), ...role].join("\n")}\n`;
}

/** Environment file of Debian's prometheus-node-exporter.service. Only collectors that say something in a node. */
function nodeExporter(plane: LayerPlane, node: LayerNode): string {
  const collectors = ["conntrack", "cpu", "diskstats", "filesystem", "loadavg", "meminfo", "netdev", "pressure"];
  const more = ["stat", "textfile", "time", "timex", "uname", "vmstat"];
  const flags = [
    `--web.listen-address=${planeAddress(plane, node)}:${servicePorts.nodeExporter}`,
    "--collector.disable-defaults",
    `--collector.textfile.directory=${servicePaths.metrics}`,
    ...[...collectors, ...more].map((name) => `--collector.${name}`),
  ];
  return `ARGS="${flags.join(" ")}"\n`;
}

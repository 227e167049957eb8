import { X509Certificate } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pkiFile, pkiPurposes } from "../../shared/pki.ts";
import { nodePeers } from "../../shared/render/peers.ts";
import { servicePaths } from "../../shared/services.ts";
import type { EventLog } from "./events.ts";
import { pairsOf, ping } from "./fabric.ts";
import type { Identity } from "./identity.ts";
import type { NodePaths } from "./paths.ts";
import { wgTable } from "./planes.ts";
import { messageOf, readText, sleep } from "./text.ts";
import { holdsVip } from "./vip.ts";

const everyMs = 15_000;
const pings = 5;

/** One line of the text format, grouped under its name when written. */
export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

/** What each metric is; those whose name ends in `_total` are counters, all others gauges. */
const help: Record<string, string> = {
  kubedos_plane_peer_handshake_age_seconds: "Seconds since the last WireGuard handshake with a peer",
  kubedos_plane_peer_received_bytes_total: "Bytes received from a peer on a plane",
  kubedos_plane_peer_sent_bytes_total: "Bytes sent to a peer on a plane",
  kubedos_plane_peer_loss_ratio: "Part of pings to a peer that were not answered, 0 to 1",
  kubedos_plane_peer_round_trip_seconds: "Mean round trip of the answered pings to a peer",
  kubedos_plane_errors_total: "Packets of a plane's interface that could not be received or sent",
  kubedos_plane_dropped_total: "Packets of a plane's interface that were dropped",
  kubedos_tcp_retransmits_total: "TCP segments that were sent again, from this node to a peer",
  kubedos_tcp_flows_total: "TCP connections with a peer that have ended",
  kubedos_tcp_flow_bytes_total: "Bytes of TCP connections with a peer that have ended, both ways",
  kubedos_vip_held: "Whether this edge node holds the virtual address",
  kubedos_certificate_expires_seconds: "When a certificate of the node expires, seconds since 1970",
};

/** Writes the health of the planes for the node exporter, as long as the node lives. */
export async function keepMetrics(paths: NodePaths, identity: Identity, log: EventLog): Promise<void> {
  if (!identity.layer.features.includes("observability")) return;
  const directory = paths.at(servicePaths.metrics);
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  let complained = false;
  for (;;) {
    try {
      const text = metricsText(await samples(paths, identity));
      const file = join(directory, "kubedos.prom");
      writeFileSync(`${file}.new`, text, { mode: 0o644 });
      renameSync(`${file}.new`, file);
      complained = false;
    } catch (error) {
      if (!complained) {
        log.emit({ type: "log", level: "warn", message: `the planes are not measured: ${messageOf(error)}` });
      }
      complained = true;
    }
    await sleep(everyMs);
  }
}

/**
 * The text format of Prometheus, metrics in the order of their first sample.
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 */
export function metricsText(all: readonly Sample[]): string {
  const names = [...new Set(all.map(({ name }) => name))];
  return names
    .map((name) => {
      const lines = all
        .filter((sample) => sample.name === name)
        .map(({ labels, value }) => {
          const inside = Object.entries(labels).map(([key, text]) => `${key}="${text.replaceAll(/["\\\n]/g, "_")}"`);
          return `${name}{${inside.join(",")}} ${value}\n`;
        });
      const type = name.endsWith("_total") ? "counter" : "gauge";
      return `# HELP ${name} ${help[name] ?? name}\n# TYPE ${name} ${type}\n${lines.join("")}`;
    })
    .join("");
}

async function samples(paths: NodePaths, identity: Identity): Promise<Sample[]> {
  const { layer, node } = identity;
  return [
    ...(await peerSamples(identity)),
    ...(await pingSamples(identity)),
    ...layer.planes.flatMap((plane) => interfaceSamples(paths, plane.name)),
    ...(layer.edge !== undefined && node.roles.includes("edge")
      ? [{ name: "kubedos_vip_held", labels: {}, value: holdsVip(layer.edge) ? 1 : 0 }]
      : []),
    ...certificateSamples(paths),
  ];
}

async function peerSamples({ layer, node }: Identity): Promise<Sample[]> {
  const now = Math.floor(Date.now() / 1000);
  const names = new Map<string, Record<string, string>>();
  for (const plane of layer.planes) {
    for (const peer of nodePeers(layer, plane, node)) {
      // Operators come and go.
      if (peer.endpoint === undefined) continue;
      names.set(`${plane.name} ${peer.publicKey}`, { plane: plane.name, peer: peer.name });
    }
  }
  const handshakes = await wgTable("latest-handshakes");
  const transfers = await wgTable("transfer");
  return [
    ...handshakes.flatMap(([plane, key, seconds]) => {
      const labels = names.get(`${plane} ${key}`);
      if (labels === undefined || seconds === "0") return [];
      return [{ name: "kubedos_plane_peer_handshake_age_seconds", labels, value: Math.max(0, now - Number(seconds)) }];
    }),
    ...transfers.flatMap(([plane, key, received, sent]) => {
      const labels = names.get(`${plane} ${key}`);
      if (labels === undefined) return [];
      return [
        { name: "kubedos_plane_peer_received_bytes_total", labels, value: Number(received) },
        { name: "kubedos_plane_peer_sent_bytes_total", labels, value: Number(sent) },
      ];
    }),
  ];
}

async function pingSamples(identity: Identity): Promise<Sample[]> {
  const pairs = pairsOf(identity, true);
  const answers = await ping(
    pairs.map((pair) => pair.address),
    pings,
  );
  return pairs.flatMap(({ plane, peer, address }) => {
    const labels = { plane, peer };
    const received = (answers.get(address) ?? []).filter((time) => time !== undefined);
    const loss = { name: "kubedos_plane_peer_loss_ratio", labels, value: 1 - received.length / pings };
    if (received.length === 0) return [loss];
    const mean = received.reduce((sum, time) => sum + time, 0) / received.length / 1000;
    return [loss, { name: "kubedos_plane_peer_round_trip_seconds", labels, value: Number(mean.toFixed(6)) }];
  });
}

function interfaceSamples(paths: NodePaths, plane: string): Sample[] {
  return (["errors", "dropped"] as const).flatMap((what) =>
    (["rx", "tx"] as const).flatMap((direction) => {
      const text = readText(paths.at(`/sys/class/net/${plane}/statistics/${direction}_${what}`));
      return text === undefined
        ? []
        : [{ name: `kubedos_plane_${what}_total`, labels: { plane, direction }, value: Number(text) }];
    }),
  );
}

function certificateSamples(paths: NodePaths): Sample[] {
  return pkiPurposes.flatMap((purpose) => {
    try {
      const { validTo } = new X509Certificate(readFileSync(paths.at(pkiFile(purpose, "crt"))));
      const value = Math.floor(Date.parse(validTo) / 1000);
      return [{ name: "kubedos_certificate_expires_seconds", labels: { purpose }, value }];
    } catch {
      return [];
    }
  });
}

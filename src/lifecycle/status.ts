import type { NodeFacts, NodePhase } from "../../shared/events.ts";
import type { ConvergenceProgress } from "../converge/progress.ts";
import { convergenceText } from "../converge/text.ts";
import { observe, type ObservedNode } from "../converge/observe.ts";
import { nowMs } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import type { RunningCluster } from "./running.ts";
import { formatTable } from "../../shared/table.ts";

/** One line of `status`. */
export interface NodeStatus {
  node: string;
  roles: string[];
  state: "absent" | "stopped" | "running";
  phase: NodePhase;
  note?: string;
  /** On hubs: whose Salt keys were not taken since its start. */
  refused?: ObservedNode["refused"];
  facts?: NodeFacts;
  /** Age of the facts in seconds. */
  factsAgeSeconds?: number;
  artifact?: string;
}

export interface ClusterStatus {
  cluster: string;
  substrate: string;
  sealed: boolean;
  nodes: NodeStatus[];
  /** The last convergence; absent: none has begun. */
  convergence?: ConvergenceProgress;
}

const askMs = 5_000;

/** Machines as the substrate sees them, nodes as they report themselves; asks running nodes for fresh facts. */
export async function readStatus(cluster: RunningCluster, context: RunContext): Promise<ClusterStatus> {
  const { substrate, lab, spec } = cluster;
  const observer = observe(substrate, lab, { ...context, emit: () => undefined });
  await observer.poll();
  const machines = new Map((await substrate.status(lab)).map((machine) => [machine.node, machine]));
  const nodes = await Promise.all(
    observer.nodes().map(async (seen): Promise<NodeStatus> => {
      const machine = machines.get(seen.node);
      const state = machine?.state ?? "absent";
      let facts = seen.facts;
      let askedMs: number | undefined;
      if (state === "running" && seen.phase !== "failed") {
        const fresh = await observer.ask(seen.node, { command: "facts" }, askMs).catch(() => undefined);
        context.signal.throwIfAborted();
        if (fresh !== undefined) {
          facts = fresh as NodeFacts;
          askedMs = nowMs();
        }
      }
      return {
        node: seen.node,
        roles: spec.nodes.find((node) => node.name === seen.node)?.roles ?? [],
        state,
        phase: state === "running" || seen.phase === "failed" ? seen.phase : "stopped",
        note: seen.note,
        ...(seen.refused.length > 0 && { refused: seen.refused }),
        facts,
        factsAgeSeconds: askedMs === undefined ? undefined : (nowMs() - askedMs) / 1000,
        artifact: machine?.artifact,
      };
    }),
  );
  return {
    cluster: spec.metadata.name,
    substrate: substrate.name,
    sealed: substrate.sealed,
    nodes,
    convergence: observer.convergence(),
  };
}

/** The status for people: one table. */
export function statusText(
  status: ClusterStatus,
  paint: { bold(text: string): string } = { bold: (text) => text },
): string {
  const rows = status.nodes.map((node) => [
    node.node,
    node.roles.join(","),
    node.state === "running" ? node.phase : node.state,
    node.facts === undefined || node.state !== "running" ? "-" : planes(node.facts),
    node.facts === undefined || node.state !== "running" ? "-" : duration(node.facts.uptimeSeconds),
    node.artifact?.slice(0, 12) ?? "-",
  ]);
  const header = ["NODE", "ROLES", "PHASE", "PLANES (oldest handshake)", "UPTIME", "ARTIFACT"];
  const [titles, ...lines] = formatTable(header, rows).split("\n");
  const sealed = status.sealed ? "sealed" : "UNSEALED: the host's kernel, no Secure Boot, no verity";
  const notes = status.nodes.flatMap((node) => [
    ...(node.phase === "failed" ? [`${node.node}: ${node.note ?? "failed"}`] : []),
    ...(node.state === "running" ? badCertificates(node) : []),
    ...(node.refused ?? []).map(
      ({ name, reason, fingerprint }) =>
        `${node.node}: refused the Salt key of ${name} (${reason}, sha256 ${fingerprint.slice(0, 23)}…)`,
    ),
  ]);
  return [
    `${status.cluster} on ${status.substrate} (${sealed})`,
    paint.bold(titles!),
    ...lines,
    ...notes,
    ...(status.convergence === undefined ? [] : [convergenceText(status.convergence)]),
  ].join("\n");
}

function badCertificates({ node, facts }: NodeStatus): string[] {
  const bad = (facts?.certificates ?? []).filter((certificate) => !certificate.valid);
  return bad.map(
    ({ purpose, notBefore, notAfter }) =>
      `${node}: its ${purpose} certificate is not valid (from ${notBefore} to ${notAfter}): kubedos pki renew ${node}`,
  );
}

function planes(facts: NodeFacts): string {
  return facts.planes
    .map((plane) => {
      const age = plane.oldestHandshakeSeconds;
      return `${plane.name} ${age === undefined ? "-" : duration(age)}`;
    })
    .join(" ");
}

function duration(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)}s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)}m`;
  return `${Math.round(seconds / 3_600)}h`;
}

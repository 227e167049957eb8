import { createHash } from "node:crypto";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import {
  type AuditLine,
  type EnrollCommand,
  type EnrollList,
  type EnrollReply,
  readAudit,
} from "../../shared/enroll.ts";
import { KubedosError } from "../../shared/error.ts";
import { isHub } from "../../shared/render/peers.ts";
import type { Shell } from "../converge/gates/types.ts";
import type { RunContext } from "../host/context.ts";
import type { SpecPaths } from "../host/paths.ts";
import { operatorShell } from "../lifecycle/shell.ts";
import { nodeProgram } from "../substrates/node-program.ts";
import { compareLog, tokensFor } from "./tokens.ts";

/** A cluster whose hubs are asked as the operator, over SSH on the control plane. */
export interface EnrollCluster {
  paths: SpecPaths;
  layer: ClusterLayer;
  shell: Shell;
}

/** What `operatorShell` needs, as the enrollment's cluster. */
export function enrollCluster(
  cluster: { paths: SpecPaths; layer: ClusterLayer },
  context: Pick<RunContext, "signal">,
): EnrollCluster {
  const { paths, layer } = cluster;
  return { paths, layer, shell: (node, command, options) => operatorShell(cluster, node, command, options, context) };
}

const program = nodeProgram("enroll");

/** Names of the hubs that enroll nodes. @throws KubedosError when the platform has no Salt */
export function enrollHubs({ layer }: Pick<EnrollCluster, "layer">): string[] {
  if (layer.salt !== undefined) return layer.nodes.filter(isHub).map(({ name }) => name);
  throw new KubedosError("failed", `${layer.cluster} enrolls nobody: it has no Salt`, {
    hint: "add `salt` to platform.features",
  });
}

/**
 * Which hubs can be told something; the others, of which a cluster with several may have lost one, with the reason.
 *
 * @throws KubedosError when none can
 */
export async function reachableHubs(
  cluster: Pick<EnrollCluster, "shell">,
  hubs: readonly string[],
): Promise<{ hubs: string[]; lost: { hub: string; reason: string }[] }> {
  if (hubs.length < 2) return { hubs: [...hubs], lost: [] }; // what fails there says so itself
  const settled = await Promise.allSettled(hubs.map((hub) => cluster.shell(hub, ["true"])));
  const lost = settled.flatMap((one, index) =>
    one.status === "rejected" ? [{ hub: hubs[index]!, reason: (one.reason as Error).message }] : [],
  );
  const [first] = settled;
  if (lost.length === hubs.length && first?.status === "rejected") throw first.reason;
  return { hubs: hubs.filter((hub) => !lost.some((one) => one.hub === hub)), lost };
}

/** Hands one command to a hub. @throws KubedosError with the hub's own reason when it does not do it */
export async function commandHub(cluster: EnrollCluster, hub: string, command: EnrollCommand): Promise<EnrollList> {
  const { status, stdout, stderr } = await cluster.shell(hub, [...program, "control"], {
    input: JSON.stringify(command),
  });
  if (status !== 0) throw failed(hub, stderr);
  const reply = parseReply(hub, stdout);
  if (reply.ok) return reply.data;
  throw new KubedosError("failed", `${hub}: ${reply.error}`, { hint: reply.hint });
}

/**
 * Opens the window on hubs, and tells each the tokens that this machine has issued. Where one does not open it, it is
 * closed on all.
 */
export async function openWindow(
  cluster: EnrollCluster,
  hubs: readonly string[],
  minutes: number,
  approval: boolean,
): Promise<EnrollList[]> {
  const opening = hubs.map(async (hub) => {
    const tokens = await tokensFor(cluster.paths, hub);
    return commandHub(cluster, hub, { command: "open", seconds: minutes * 60, approval, tokens });
  });
  const settled = await Promise.allSettled(opening);
  if (settled.some(({ status }) => status === "rejected")) {
    const opened = hubs.filter((_, index) => settled[index]!.status === "fulfilled");
    await Promise.allSettled(opened.map((hub) => commandHub(cluster, hub, { command: "close" })));
  }
  return Promise.all(opening);
}

/** Tells hubs the tokens that this machine has issued, of one node or of all. */
export async function registerTokens(
  cluster: EnrollCluster,
  hubs: readonly string[],
  node?: string,
): Promise<EnrollList[]> {
  return Promise.all(
    hubs.map(async (hub) => {
      const all = await tokensFor(cluster.paths, hub);
      const tokens = node === undefined ? all : all.filter((token) => token.node === node);
      return commandHub(cluster, hub, { command: "tokens", tokens });
    }),
  );
}

/** Hands a token's secret to a node that runs, on standard input. */
export async function deliverToken(cluster: EnrollCluster, node: string, secret: string): Promise<void> {
  const { status, stderr } = await cluster.shell(node, [...program, "token"], { input: secret });
  if (status !== 0) throw failed(node, stderr);
}

/** A hub's audit log: its lines, and what is wrong with it. */
export async function readLog(cluster: EnrollCluster, hub: string): Promise<{ lines: AuditLine[]; problem?: string }> {
  const { status, stdout, stderr } = await cluster.shell(hub, [...program, "log"]);
  if (status !== 0) throw failed(hub, stderr);
  const { lines, hashes, broken } = readAudit(stdout, (line) => createHash("sha256").update(line).digest("hex"));
  const problem = broken ?? (await compareLog(cluster.paths, hub, hashes));
  return { lines, ...(problem !== undefined && { problem }) };
}

function parseReply(hub: string, text: string): EnrollReply {
  try {
    return JSON.parse(text) as EnrollReply;
  } catch {
    throw failed(hub, text.slice(0, 200));
  }
}

function failed(node: string, output: string): KubedosError {
  return new KubedosError("failed", `${node}: ${output.trim().split("\n").at(-1) ?? "no answer"}`, {
    hint: `kubedos ssh ${node} -- systemctl status kubedos-enroll kubedos-join`,
  });
}

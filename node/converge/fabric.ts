import type { ClusterLayer, LayerNode } from "../../shared/cluster-layer.ts";
import { automationLogin, automationPaths, type LostNode } from "../../shared/convergence.ts";
import { controlPlane, planeAddress } from "../../shared/render/peers.ts";
import { exec } from "../agent/exec.ts";
import { messageOf, sleep } from "../agent/text.ts";

/** The nodes that answered, with the boot of each, and those that did not. */
export interface Roll {
  instances: Map<string, string>;
  lost: LostNode[];
}

const firstWaitMs = 500;
const slowestWaitMs = 5_000;
const attemptMs = 20_000;
/** Handshakes at once: each costs the hub a few milliseconds of its processor. */
const atOnce = 16;
const stateDirectory = "/var";
/** Below this a node counts as full, MiB. */
const leastFreeMiB = 8;

/**
 * Logs in to every node with the hub's key over the control plane, until it answers or the time is up. The connections
 * stay open, and Ansible uses them.
 */
export async function callTheRoll(
  layer: ClusterLayer,
  nodes: readonly LayerNode[],
  timeoutSeconds: number,
  signal: AbortSignal,
  onNode: (node: string, seconds: number) => void,
): Promise<Roll> {
  const begin = Date.now();
  const deadline = begin + timeoutSeconds * 1000;
  const instances = new Map<string, string>();
  const reasons = new Map<string, string>();
  const refused = new Set<LayerNode>();
  let pending = [...nodes];
  let waitMs = firstWaitMs;
  for (;;) {
    const queue = [...pending];
    async function worker(): Promise<void> {
      for (let node = queue.shift(); node !== undefined && !signal.aborted; node = queue.shift()) {
        const answer = await ask(layer, node);
        if (answer.reason !== undefined) {
          reasons.set(node.name, answer.reason);
          if (answer.final === true) refused.add(node);
        } else {
          instances.set(node.name, answer.instance);
          onNode(node.name, (Date.now() - begin) / 1000);
        }
      }
    }
    await Promise.all(Array.from({ length: atOnce }, worker));
    pending = pending.filter((node) => !instances.has(node.name) && !refused.has(node));
    if (pending.length === 0 || signal.aborted || Date.now() + waitMs > deadline) break;
    await sleep(waitMs);
    waitMs = Math.min(waitMs * 1.5, slowestWaitMs);
  }
  const missing = nodes.filter(({ name }) => !instances.has(name));
  const lost = missing.map(({ name }) => ({ node: name, reason: reasons.get(name) ?? "not asked" }));
  return { instances, lost };
}

/** `final`: asking again is of no use. */
type Answer = { instance: string; reason?: undefined } | { reason: string; final?: boolean };

async function ask(layer: ClusterLayer, node: LayerNode): Promise<Answer> {
  try {
    const { status, stdout, stderr } = await exec("ssh", sshArguments(layer, node), { timeoutMs: attemptMs });
    if (status === 0) return readAnswer(stdout);
    return { reason: stderr.trim().split("\n").at(-1) || `ssh ended with status ${status}` };
  } catch (error) {
    return { reason: messageOf(error) };
  }
}

/** The same options as in node/ansible/ansible.cfg: connections are shared by their control path. */
function sshArguments(layer: ClusterLayer, node: LayerNode): string[] {
  const options = {
    BatchMode: "yes",
    ConnectTimeout: "5",
    IdentityFile: `${automationPaths.home}/id_ed25519`,
    IdentitiesOnly: "yes",
    StrictHostKeyChecking: "yes",
    UserKnownHostsFile: automationPaths.knownHosts,
    GlobalKnownHostsFile: "/dev/null",
    UpdateHostKeys: "no",
    PreferredAuthentications: "publickey",
    ControlMaster: "auto",
    ControlPersist: "120s",
    ControlPath: `${automationPaths.home}/cp/%C`,
    ServerAliveInterval: "10",
    ServerAliveCountMax: "3",
  };
  return [
    ...["-F", "none", "-n", "-T"],
    ...Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]),
    `${automationLogin}@${planeAddress(controlPlane(layer), node)}`,
    // One command for both: each login costs the node's processor more than the commands do.
    ...["cat", automationPaths.instance, "&&", "df", "--block-size=1M", "--output=avail", stateDirectory],
  ];
}

/**
 * What a node says to the roll: its boot, then `df --output=avail` in MiB with its heading. A node whose state is full
 * would fail somewhere in the middle of a stage, with other words for the same thing.
 */
export function readAnswer(stdout: string): Answer {
  const [instance = "", , available] = stdout.trim().split("\n");
  if (instance === "") return { reason: "it does not say which boot it is" };
  const freeMiB = Number(available);
  if (available === undefined || Number.isNaN(freeMiB)) return { reason: `the room on ${stateDirectory} is unknown` };
  if (freeMiB < leastFreeMiB) {
    const room = `${freeMiB} MiB free on ${stateDirectory}, ${leastFreeMiB} MiB are needed`;
    return { reason: `no room on its disk: ${room}`, final: true };
  }
  return { instance };
}

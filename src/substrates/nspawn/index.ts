import { createHash } from "node:crypto";
import { mkdir, open, readFile, rm, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../../shared/error.ts";
import type { RunContext } from "../../host/context.ts";
import { endDaemon, isRunning, sendLine, startDaemon } from "../../host/daemon.ts";
import { projectRoot } from "../../host/project.ts";
import { findTool, missingTools } from "../../host/tools.ts";
import type { SpecNode } from "../../spec/types.ts";
import {
  claimMachine,
  listMachines,
  machineDirectory,
  machineStatus,
  readEvents,
  readMachine,
  removeMachine,
  rotateEvents,
  writeMachine,
  type MachineRecord,
} from "../machines.ts";
import { bridge, inNetwork, prepareNetwork, runInNetwork } from "../network.ts";
import { removeRest } from "../qemu/index.ts";
import type { Lab, NodeSeed, Substrate } from "../types.ts";

const stopGraceMs = 15_000;

/**
 * Containers from the same root tree, natively on the host's kernel: seconds instead of minutes, for work on
 * convergence. Not sealed: no firmware, no verity, the host's kernel. Needs root.
 */
export const nspawnSubstrate: Substrate = {
  name: "nspawn",
  sealed: false,

  async missing() {
    const tools = await missingTools({ "systemd-nspawn": "systemd-container", ip: "iproute2", unshare: "util-linux" });
    if (process.getuid?.() !== 0) {
      tools.push({ what: "nspawn machines need root", hint: "run kubedos with sudo, or use the qemu substrate" });
    }
    return tools;
  },

  async prepare(lab, context) {
    await mkdir(lab.paths.runtime, { recursive: true, mode: 0o700 });
    await prepareNetwork(lab.paths, lab.spec.underlay.mtu, context);
  },

  async start(lab, node, seed, context) {
    const { tree, layer, hash } = lab.artifacts;
    if (tree === undefined) throw new KubedosError("failed", "the nspawn substrate needs the platform's root tree");
    // 1. The machine's own files, behind its ownership mark.
    const cluster = lab.spec.metadata.name;
    const claim = await claimMachine(lab.paths, { cluster, node: node.name, substrate: "nspawn", artifact: hash });
    if (claim.running) return;
    const directory = machineDirectory(lab.paths, node.name);
    const host = join(directory, "host");
    await mkdir(host, { recursive: true, mode: 0o755 });
    await rotateEvents(join(host, "events.jsonl"));
    await (await open(join(host, "events.jsonl"), "a")).close();
    await rm(join(host, "control.sock"), { force: true });
    const credentials = await writeCredentials(directory, seed);
    const userspace = await userspaceWireguard(lab, host, context);
    // 2. The container, in the cluster's network and a control group of its own.
    const inside = await inNetwork(lab.paths, "systemd-nspawn", [
      "--quiet",
      "--boot",
      `--directory=${tree}`,
      "--volatile=overlay",
      `--machine=${machineName(lab, node)}`,
      "--register=no",
      "--keep-unit",
      "--console=pipe",
      `--network-bridge=${bridge}`,
      "--bind=/dev/net/tun",
      `--bind=${host}:/run/kubedos/host`,
      `--bind-ro=${layer}:/run/kubedos/layer`,
      ...userspace,
      ...credentials.map(({ name, file }) => `--load-credential=${name}:${file}`),
    ]);
    const script = join(projectRoot(), "src/substrates/nspawn/start.sh");
    const machine = await startDaemon("sh", [script, machineName(lab, node), inside.command, ...inside.args], {
      log: join(directory, "console.log"),
    });
    await writeMachine(lab.paths, { ...claim.record, artifact: hash, process: machine, helpers: [] });
    context.emit({ type: "node.phase", node: node.name, phase: "started", note: "unsealed" });
  },

  status: machineStatus,

  events: (lab, node, offset) => readEvents(join(machineDirectory(lab.paths, node), "host", "events.jsonl"), offset),

  request: (lab, node, request) =>
    sendLine(join(machineDirectory(lab.paths, node), "host", "control.sock"), JSON.stringify(request)),

  consoleLog: (paths, node) => join(machineDirectory(paths, node), "console.log"),

  async consoleAttachment(paths, node) {
    const record = await readMachine(paths, node);
    const leader = record?.process === undefined ? undefined : await leaderOf(record.process.pid);
    if (leader === undefined) {
      throw new KubedosError("failed", `${node} is not running`, { hint: "`kubedos up` starts it" });
    }
    const args = [`--target=${leader}`, "--all", "--", "/bin/bash", "--login"];
    return { command: "nsenter", args };
  },

  async stop(lab, node) {
    const record = await readMachine(lab.paths, node);
    if (record === undefined) return;
    await endDaemon(record.process, stopGraceMs); // nspawn passes SIGTERM on as an orderly shutdown
  },

  async destroy(lab) {
    for (const record of await listMachines(lab.paths)) {
      if (record.substrate !== "nspawn") continue;
      await endMachine(record);
      await removeGroups(machineNameOf(record.cluster, record.node, lab.paths.spec));
      await removeMachine(lab.paths, record.node);
    }
    await removeRest(lab.paths);
  },
};

/** Nothing in it is kept, so it need not be asked politely: its init is killed, and nspawn cleans up after it. */
async function endMachine(record: MachineRecord): Promise<void> {
  if (!(await isRunning(record.process))) return;
  const leader = await leaderOf(record.process!.pid);
  if (leader !== undefined) {
    try {
      process.kill(leader, "SIGKILL");
    } catch {
      // it has just ended
    }
  }
  await endDaemon(record.process, 5_000);
}

/** PID 1 of the container: the child of nspawn. */
async function leaderOf(nspawn: number): Promise<number | undefined> {
  const children = await readFile(`/proc/${nspawn}/task/${nspawn}/children`, "utf8").catch(() => "");
  const [first] = children.trim().split(" ");
  return first === undefined || first === "" ? undefined : Number(first);
}

function machineName(lab: Lab, node: SpecNode): string {
  return machineNameOf(lab.spec.metadata.name, node.name, lab.paths.spec);
}

/** Unique on the host, also for two clusters of one name; at most 64 characters. */
function machineNameOf(cluster: string, node: string, specFile: string): string {
  const short = createHash("sha256").update(`${specFile}/${cluster}/${node}`).digest("hex").slice(0, 8);
  return `kd-${node.slice(0, 40)}-${short}`;
}

async function writeCredentials(directory: string, seed: NodeSeed): Promise<{ name: string; file: string }[]> {
  const folder = join(directory, "credentials");
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { mode: 0o700 });
  const entries = Object.entries(seed.credentials).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Promise.all(
    entries.map(async ([name, value]) => {
      const file = join(folder, name);
      await writeFile(file, value, { mode: 0o600 });
      return { name, file };
    }),
  );
}

/** Where the host's kernel has no WireGuard, its wireguard-go is bound in. */
async function userspaceWireguard(lab: Lab, host: string, context: RunContext): Promise<string[]> {
  const probe = await runInNetwork(lab.paths, "ip", ["link", "add", "kdprobe", "type", "wireguard"], context, {
    okStatuses: [0, 1, 2],
  });
  if (probe.status === 0) {
    await runInNetwork(lab.paths, "ip", ["link", "delete", "kdprobe"], context);
    return [];
  }
  const tool = await findTool("wireguard-go");
  if (tool === undefined) {
    throw new KubedosError("failed", "the host's kernel has no WireGuard, and wireguard-go is not installed", {
      hint: "apt-get install wireguard-go",
    });
  }
  const mountPoint = join(host, "wireguard-go");
  await (await open(mountPoint, "a", 0o755)).close();
  return [`--bind-ro=${tool}:/run/kubedos/host/wireguard-go`];
}

async function removeGroups(name: string): Promise<void> {
  for (const hierarchy of ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"]) {
    for (const inner of ["supervisor", "payload", ""]) {
      await rmdir(join(hierarchy, name, inner)).catch(() => undefined); // not there, or not in this hierarchy
    }
  }
}

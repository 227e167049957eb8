import { createHash } from "node:crypto";
import { mkdir, open, readFile, rename, rm, rmdir, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../../shared/error.ts";
import { darksitePaths } from "../../../shared/repository.ts";
import { delay } from "../../host/clock.ts";
import { endGroup } from "../../host/control-group.ts";
import type { RunContext } from "../../host/context.ts";
import { endDaemon, isRunning, logTail, sendLine, startDaemon, type Daemon } from "../../host/daemon.ts";
import type { SpecPaths } from "../../host/paths.ts";
import { hostProbe } from "../../host/probe.ts";
import { projectRoot } from "../../host/project.ts";
import { run } from "../../host/run.ts";
import { makeRuntimeDirectory, socketPath } from "../../host/runtime-directory.ts";
import { findTool } from "../../host/tools.ts";
import type { SpecNode } from "../../spec/types.ts";
import {
  claimMachine,
  endStrays,
  listMachines,
  machineDirectory,
  machineMark,
  machineStatus,
  readEvents,
  readMachine,
  removeMachine,
  rotateEvents,
  writeMachine,
  type MachineRecord,
} from "../machines.ts";
import { bridge, inNetwork, prepareNetwork, runInNetwork } from "../network.ts";
import { missingFor } from "../requirements.ts";
import { changeLab, removeEmptyDirectories, removeRest } from "../teardown.ts";
import type { Lab, NodeSeed, Substrate } from "../types.ts";
import { requireInotify } from "./inotify.ts";

const stopGraceMs = 15_000;
const leaderTries = 200;
const leaderPollMs = 25;

/**
 * Containers from the same root tree, natively on the host's kernel: seconds instead of minutes, for work on
 * convergence. Not sealed: no firmware, no verity, the host's kernel. Needs root.
 */
export const nspawnSubstrate: Substrate = {
  name: "nspawn",
  sealed: false,

  async missing() {
    const missing = await missingFor(hostProbe(), "nspawn");
    if (process.getuid?.() !== 0) {
      missing.push({ what: "nspawn machines need root", hint: "run kubedos with sudo, or use the qemu substrate" });
    }
    return missing;
  },

  prepare(lab, context) {
    return changeLab(lab.paths, context, async () => {
      const starting = (await machineStatus(lab)).filter((machine) => machine.state !== "running");
      await requireInotify(hostProbe(), starting.length, lab.spec.planes.length);
      await makeRuntimeDirectory(lab.paths.runtime);
      await prepareNetwork(lab.paths, lab.spec.underlay.mtu, context);
    });
  },

  start(lab, node, seed, context) {
    return changeLab(lab.paths, context, () => startMachine(lab, node, seed, context));
  },

  status: machineStatus,

  events: (lab, node, offset) => readEvents(join(hostDirectory(lab.paths, node), "events.jsonl"), node, offset),

  request: (lab, node, request) =>
    sendLine(socketPath(hostLink(lab.paths, node), "control.sock"), JSON.stringify(request)),

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

  stop(lab, node, context) {
    return changeLab(lab.paths, context, async () => {
      const record = await readMachine(lab.paths, node);
      if (record === undefined) return;
      await endDaemon(record.process, stopGraceMs); // nspawn passes SIGTERM on as an orderly shutdown
      await cleanUp(lab.paths, record);
    });
  },

  async destroy(lab, context) {
    await changeLab(lab.paths, context, async () => {
      const records = await listMachines(lab.paths);
      for (const record of records.filter(isOurs)) {
        await cleanUp(lab.paths, record); // nothing in it is kept, so it is not asked politely
        await endDaemon(record.process, 2_000);
        await removeMachine(lab.paths, record.node);
      }
      await removeRest(
        lab.paths,
        records.filter((record) => !isOurs(record)),
        context,
      );
    });
    await removeEmptyDirectories(lab.paths);
  },
};

async function startMachine(lab: Lab, node: SpecNode, seed: NodeSeed, context: RunContext): Promise<void> {
  const { tree, layer, hash } = lab.artifacts;
  if (tree === undefined) throw new KubedosError("failed", "the nspawn substrate needs the platform's root tree");
  // 1. The machine's own files, behind its ownership mark.
  const cluster = lab.spec.metadata.name;
  const claim = await claimMachine(lab.paths, { cluster, node: node.name, substrate: "nspawn", artifact: hash });
  if (claim.running) return;
  await cleanUp(lab.paths, claim.record);
  const directory = machineDirectory(lab.paths, node.name);
  const host = hostDirectory(lab.paths, node.name);
  await mkdir(host, { recursive: true, mode: 0o755 });
  await rotateEvents(join(host, "events.jsonl"));
  await (await open(join(host, "events.jsonl"), "a")).close();
  await rm(join(host, "control.sock"), { force: true });
  await rm(hostLink(lab.paths, node.name), { force: true });
  await symlink(host, hostLink(lab.paths, node.name));
  const credentials = await writeCredentials(directory, seed);
  const state = await stateBinds(lab, directory, tree, context);
  const userspace = await userspaceWireguard(lab, host, context);
  const { darksite } = lab.artifacts;
  const serves = darksite !== undefined && node.roles.includes("hub");
  const repository = serves ? [`--bind-ro=${bindPath(darksite)}:${darksitePaths[0]}`] : [];
  // 2. The container, in the cluster's network and a control group of its own.
  const name = machineName(lab.paths, claim.record);
  const inside = await inNetwork(lab.paths, "systemd-nspawn", [
    "--quiet",
    "--boot",
    `--directory=${tree}`,
    "--volatile=overlay",
    `--machine=${name}`,
    "--register=no",
    "--keep-unit",
    "--console=pipe",
    `--network-bridge=${bridge}`,
    "--bind=/dev/net/tun",
    `--bind=${bindPath(host)}:/run/kubedos/host`,
    `--bind-ro=${bindPath(layer)}:/run/kubedos/layer`,
    ...state,
    ...repository,
    ...userspace,
    ...credentials.map(({ name, file }) => `--load-credential=${name}:${file}`),
  ]);
  const script = join(projectRoot(), "src/substrates/nspawn/start.sh");
  const log = join(directory, "console.log");
  const mark = machineMark(lab.paths, node.name);
  try {
    const machine = await startDaemon("sh", [script, name, inside.command, ...inside.args], { log, mark });
    await writeMachine(lab.paths, { ...claim.record, process: machine, helpers: [] });
    await waitForLeader(machine, log, context);
  } catch (error) {
    await cleanUp(lab.paths, claim.record);
    throw error;
  }
  context.emit({ type: "node.phase", node: node.name, phase: "started", note: "unsealed" });
}

/** The container's own init runs: nspawn has taken its options and made its mounts. */
async function waitForLeader(machine: Daemon, log: string, context: RunContext): Promise<void> {
  for (let tries = 0; tries < leaderTries && (await isRunning(machine)); tries++) {
    if ((await leaderOf(machine.pid)) !== undefined) return;
    await delay(leaderPollMs, context.signal);
  }
  throw new KubedosError("failed", `the container did not start\n${await logTail(log)}`);
}

/** Ends what is left of a container. nspawn's own end, by SIGKILL, would not end it: its processes are in its group. */
async function cleanUp(paths: SpecPaths, record: MachineRecord): Promise<void> {
  await endGroup(machineName(paths, record));
  await endStrays(paths, record.node);
  await rm(hostLink(paths, record.node), { force: true });
  // nspawn removes these itself, unless it is killed or /run is no tmpfs; they are empty.
  for (const kind of ["propagate", "unix-export"]) {
    await rmdir(join("/run/systemd/nspawn", kind, machineName(paths, record))).catch(() => undefined);
  }
}

function isOurs(record: MachineRecord): boolean {
  return record.substrate === "nspawn";
}

/** What node and host share: the event log and the agent's socket. */
function hostDirectory(paths: Pick<SpecPaths, "state">, node: string): string {
  return join(machineDirectory(paths, node), "host");
}

/** A short name for that directory: the path of a socket in it must not be long. */
function hostLink(paths: Pick<SpecPaths, "runtime">, node: string): string {
  return join(paths.runtime, `${node}.host`);
}

/** systemd-nspawn(1), --bind: colons separate the parts, a backslash keeps one. */
function bindPath(path: string): string {
  return path.replaceAll(/[\\:]/g, String.raw`\$&`);
}

/** PID 1 of the container: the descendant of nspawn that is 1 in a pid namespace of its own (proc(5), NSpid). */
async function leaderOf(parent: number): Promise<number | undefined> {
  const children = await readFile(`/proc/${parent}/task/${parent}/children`, "utf8").catch(() => "");
  for (const child of children.trim().split(" ").filter(Boolean).map(Number)) {
    const status = await readFile(`/proc/${child}/status`, "utf8").catch(() => "");
    const isInit = /^NSpid:\s.*\s1$/m.test(status) && !status.includes("systemd-nspawn");
    if (isInit) return child;
    const below = await leaderOf(child);
    if (below !== undefined) return below;
  }
  return undefined;
}

/** Unique on the host, also for two clusters of one name; at most 64 characters. */
function machineName(
  paths: Pick<SpecPaths, "spec">,
  { cluster, node }: Pick<MachineRecord, "cluster" | "node">,
): string {
  const short = createHash("sha256").update(`${paths.spec}/${cluster}/${node}`).digest("hex").slice(0, 8);
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

/**
 * The node's /var: a directory beside its other files, filled with what the image has there. The list of installed
 * packages is the image's own.
 */
async function stateBinds(lab: Lab, directory: string, tree: string, context: RunContext): Promise<string[]> {
  if (lab.spec.platform.state === "volatile") return [];
  const state = join(directory, "var");
  if ((await stat(state).catch(() => undefined)) === undefined) {
    await rm(`${state}.new`, { recursive: true, force: true });
    await run("cp", ["--archive", join(tree, "var"), `${state}.new`], { signal: context.signal, timeoutMs: 120_000 });
    await rename(`${state}.new`, state);
  }
  return [`--bind=${bindPath(state)}:/var`, `--bind-ro=${bindPath(join(tree, "var/lib/dpkg"))}:/var/lib/dpkg`];
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

import { chmod, copyFile, mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../../shared/error.ts";
import { delay } from "../../host/clock.ts";
import type { RunContext } from "../../host/context.ts";
import { endDaemon, isRunning, logTail, sendLine, startDaemon, type Daemon } from "../../host/daemon.ts";
import { waitForListener } from "../../host/listening.ts";
import { hostProbe } from "../../host/probe.ts";
import { qmp } from "../../host/qmp.ts";
import { run } from "../../host/run.ts";
import { makeRuntimeDirectory } from "../../host/runtime-directory.ts";
import type { SpecNode } from "../../spec/types.ts";
import {
  claimMachine,
  endStrays,
  eventLog,
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
import { bridge, inNetwork, linkExists, prepareNetwork, runInNetwork } from "../network.ts";
import { missingFor } from "../requirements.ts";
import { changeLab, removeEmptyDirectories, removeRest } from "../teardown.ts";
import type { Lab, NodeSeed, Substrate } from "../types.ts";
import { chooseAccelerator } from "./accelerator.ts";
import { machineFiles, machineSockets, qemuArguments, tapName, type MachineFiles } from "./command.ts";

const stopGraceMs = 20_000;
const stopPollMs = 200;
const readyTimeoutMs = 15_000;

const always = () => true;
const never = () => false;

/** Virtual machines on this host: UEFI with Secure Boot enforcing, TPM 2.0, the sealed image as it leaves the foundry. */
export const qemuSubstrate: Substrate = {
  name: "qemu",
  sealed: true,

  missing: () => missingFor(hostProbe(), "qemu"),

  prepare(lab, context) {
    return changeLab(lab.paths, context, async () => {
      await makeRuntimeDirectory(lab.paths.runtime);
      await prepareNetwork(lab.paths, lab.spec.underlay.mtu, context);
    });
  },

  start(lab, node, seed, context) {
    return changeLab(lab.paths, context, () => startMachine(lab, node, seed, context));
  },

  status: machineStatus,

  events: (lab, node, offset) => readEvents(eventLog(lab.paths, node), node, offset),

  async request(lab, node, request) {
    await sendLine(socketsOf(lab, node).controlSocket, JSON.stringify(request));
  },

  consoleLog: (paths, node) => join(machineDirectory(paths, node), "console.log"),

  consoleAttachment: async (paths, node) => ({ socket: socketsOf({ paths }, node).consoleSocket }),

  stop(lab, node, context) {
    return changeLab(lab.paths, context, async () => {
      const record = await readMachine(lab.paths, node);
      if (record === undefined) return;
      if (await isRunning(record.process)) await powerOff(lab, record, context);
      await endAll(lab, record);
    });
  },

  async destroy(lab, context) {
    await changeLab(lab.paths, context, async () => {
      const records = await listMachines(lab.paths);
      for (const record of records.filter(isOurs)) {
        await endAll(lab, record);
        for (const socket of machineSockets(socketsOf(lab, record.node))) await rm(socket, { force: true });
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
  const cluster = lab.spec.metadata.name;
  const { image, firmware, hash } = lab.artifacts;
  if (image === undefined || firmware === undefined) {
    throw new KubedosError("failed", "the qemu substrate needs the sealed image and its firmware");
  }
  // 1. The machine's own files, behind its ownership mark.
  const claim = await claimMachine(lab.paths, { cluster, node: node.name, substrate: "qemu", artifact: hash });
  if (claim.running) return;
  const directory = machineDirectory(lab.paths, node.name);
  const darksite = node.roles.includes("hub") ? lab.artifacts.darksite : undefined;
  const files = { ...machineFiles(directory, lab.paths.runtime, node.name, firmware.code), darksite };
  await makeOnce(files.disk, (file) => makeDisk(file, image, node, context));
  await makeOnce(files.vars, async (file) => {
    await copyFile(firmware.vars, file);
    await chmod(file, 0o600);
  });
  await writeSeed(files.seed, seed);
  await rotateEvents(files.events);
  for (const socket of machineSockets(files)) await rm(socket, { force: true });
  const accelerator = await chooseAccelerator(context);
  await makeTap(lab, node, context);
  // 2. TPM and machine; both are ended when something fails.
  const mark = machineMark(lab.paths, node.name);
  try {
    const tpm = await startTpm(directory, files, mark, context);
    const inside = await inNetwork(lab.paths, "qemu-system-x86_64", qemuArguments(cluster, node, files, accelerator));
    const log = join(directory, "qemu.log");
    const machine = await startDaemon(inside.command, inside.args, { log, mark });
    await writeMachine(lab.paths, { ...claim.record, process: machine, helpers: [tpm] });
    await waitForMachine(files, log, machine, context);
  } catch (error) {
    await endStrays(lab.paths, node.name);
    throw error;
  }
  context.emit({ type: "node.phase", node: node.name, phase: "started", note: accelerator });
}

async function startTpm(directory: string, files: MachineFiles, mark: string, context: RunContext): Promise<Daemon> {
  const state = join(directory, "tpm");
  const log = join(directory, "swtpm.log");
  await mkdir(state, { recursive: true, mode: 0o700 });
  const channels = ["--tpmstate", `dir=${state}`, "--ctrl", `type=unixio,path=${files.tpmSocket}`];
  const tpm = await startDaemon("swtpm", ["socket", "--tpm2", ...channels, "--terminate"], { log, mark });
  if (!(await waitForListener(tpm, files.tpmSocket, readyTimeoutMs, context.signal))) {
    throw new KubedosError("failed", `the TPM emulator did not start\n${await logTail(log)}`);
  }
  return tpm;
}

/** Asks the node's agent to power off; a machine whose agent does not listen has nothing to put away. */
async function powerOff(lab: Pick<Lab, "paths">, record: MachineRecord, context: RunContext): Promise<void> {
  const { qmpSocket, controlSocket } = socketsOf(lab, record.node);
  const ports = (await qmp(qmpSocket, "query-chardev").catch(() => [])) as {
    label: string;
    "frontend-open": boolean;
  }[];
  if (!ports.some((port) => port.label === "control" && port["frontend-open"])) return;
  // An agent that hangs does not save its machine from being stopped.
  const request = JSON.stringify({ id: `stop-${record.process!.pid}`, command: "poweroff" });
  const taken = await sendLine(controlSocket, request).then(always, never);
  if (!taken) return;
  for (let waited = 0; waited < stopGraceMs && (await isRunning(record.process)); waited += stopPollMs) {
    await delay(stopPollMs, context.signal);
  }
}

function isOurs(record: MachineRecord): boolean {
  return record.substrate === "qemu";
}

function socketsOf(lab: Pick<Lab, "paths">, node: string): MachineFiles {
  return machineFiles(machineDirectory(lab.paths, node), lab.paths.runtime, node, "");
}

/** QEMU ends at SIGTERM after it has written what it holds; the TPM emulator ends with it, if it is not stuck. */
async function endAll(lab: Pick<Lab, "paths">, record: MachineRecord): Promise<void> {
  await endDaemon(record.process, 3_000);
  for (const helper of record.helpers) await endDaemon(helper, 1_000);
  await endStrays(lab.paths, record.node);
}

/** Makes a file unless it is there: whole or not at all. */
async function makeOnce(file: string, make: (unfinished: string) => Promise<unknown>): Promise<void> {
  if ((await stat(file).catch(() => undefined)) !== undefined) return;
  await make(`${file}.new`);
  await rename(`${file}.new`, file);
}

async function makeDisk(disk: string, image: string, node: SpecNode, context: RunContext): Promise<void> {
  const args = ["create", "-q", "-f", "qcow2", "-b", image, "-F", "raw", disk, `${node.diskGiB}G`];
  await run("qemu-img", args, { signal: context.signal, timeoutMs: 60_000 });
}

/** The seed holds secrets: readable by its owner only, from its first byte on. */
async function writeSeed(file: string, seed: NodeSeed): Promise<void> {
  await rm(`${file}.new`, { force: true });
  await writeFile(`${file}.new`, seed.disk, { mode: 0o600, flag: "wx" });
  await rename(`${file}.new`, file);
}

async function makeTap(lab: Lab, node: SpecNode, context: RunContext): Promise<void> {
  const tap = tapName(node);
  if (!(await linkExists(lab.paths, tap, context))) {
    const hint = "is /dev/net/tun there, and may this user open it? `kubedos doctor` checks";
    await runInNetwork(lab.paths, "ip", ["tuntap", "add", tap, "mode", "tap"], context, { hint });
  }
  const mtu = String(lab.spec.underlay.mtu);
  await runInNetwork(lab.paths, "ip", ["link", "set", tap, "mtu", mtu, "master", bridge, "up"], context);
}

/** QEMU answers once it has made the machine; its socket is there before it has looked at the firmware and the disks. */
async function waitForMachine(files: MachineFiles, log: string, machine: Daemon, context: RunContext): Promise<void> {
  try {
    await waitForListener(machine, files.qmpSocket, readyTimeoutMs, context.signal);
    await qmp(files.qmpSocket, "query-status", {}, readyTimeoutMs);
  } catch (cause) {
    context.signal.throwIfAborted();
    throw new KubedosError("failed", `the machine did not start\n${await logTail(log)}`, { cause });
  }
}

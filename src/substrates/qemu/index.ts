import { copyFile, chmod, mkdir, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../../shared/error.ts";
import { delay } from "../../host/clock.ts";
import type { RunContext } from "../../host/context.ts";
import { endDaemon, isRunning, logTail, sendLine, startDaemon } from "../../host/daemon.ts";
import type { SpecPaths } from "../../host/paths.ts";
import { missingTools } from "../../host/tools.ts";
import { run } from "../../host/run.ts";
import type { SpecNode } from "../../spec/types.ts";
import {
  claimMachine,
  eventLog,
  listMachines,
  machineDirectory,
  machineStatus,
  readEvents,
  readMachine,
  removeMachine,
  rotateEvents,
  writeMachine,
} from "../machines.ts";
import { bridge, destroyNetwork, inNetwork, prepareNetwork, runInNetwork } from "../network.ts";
import { disconnectOperator } from "../operator.ts";
import type { Lab, NodeSeed, Substrate } from "../types.ts";
import { chooseAccelerator } from "./accelerator.ts";
import { machineFiles, qemuArguments, tapName } from "./command.ts";

const stopGraceMs = 15_000;
const socketTries = 100;

/** Virtual machines on this host: UEFI with Secure Boot enforcing, TPM 2.0, the sealed image as it leaves the foundry. */
export const qemuSubstrate: Substrate = {
  name: "qemu",
  sealed: true,

  async missing() {
    const tools = await missingTools({
      "qemu-system-x86_64": "qemu-system-x86",
      "qemu-img": "qemu-utils",
      swtpm: "swtpm",
      ip: "iproute2",
      unshare: "util-linux",
    });
    const tun = await stat("/dev/net/tun").catch(() => undefined);
    if (tun === undefined)
      tools.push({ what: "/dev/net/tun is missing", hint: "load the kernel module: modprobe tun" });
    return tools;
  },

  async prepare(lab, context) {
    await mkdir(lab.paths.runtime, { recursive: true, mode: 0o700 });
    await prepareNetwork(lab.paths, lab.spec.underlay.mtu, context);
  },

  async start(lab, node, seed, context) {
    const cluster = lab.spec.metadata.name;
    const { image, firmware, hash } = lab.artifacts;
    if (image === undefined || firmware === undefined) {
      throw new KubedosError("failed", "the qemu substrate needs the sealed image and its firmware");
    }
    // 1. The machine's own files, behind its ownership mark.
    const claim = await claimMachine(lab.paths, { cluster, node: node.name, substrate: "qemu", artifact: hash });
    if (claim.running) return;
    const directory = machineDirectory(lab.paths, node.name);
    const files = machineFiles(directory, lab.paths.runtime, node.name, firmware.code);
    await makeDisk(files.disk, image, node, context);
    if ((await stat(files.vars).catch(() => undefined)) === undefined) {
      await copyFile(firmware.vars, files.vars);
      await chmod(files.vars, 0o600);
    }
    await writeSeed(files.seed, seed);
    await rotateEvents(files.events);
    for (const socket of [files.tpmSocket, files.consoleSocket, files.controlSocket]) await rm(socket, { force: true });
    // 2. TPM and network device.
    const accelerator = await chooseAccelerator(context);
    await mkdir(join(directory, "tpm"), { recursive: true, mode: 0o700 });
    const tpm = await startDaemon(
      "swtpm",
      [
        "socket",
        "--tpm2",
        "--tpmstate",
        `dir=${join(directory, "tpm")}`,
        "--ctrl",
        `type=unixio,path=${files.tpmSocket}`,
        "--terminate",
      ],
      { log: join(directory, "swtpm.log") },
    );
    await waitForFile(files.tpmSocket, "the TPM emulator's socket", join(directory, "swtpm.log"), context);
    await makeTap(lab, node, context);
    // 3. The machine.
    const inside = await inNetwork(lab.paths, "qemu-system-x86_64", qemuArguments(cluster, node, files, accelerator));
    const log = join(directory, "qemu.log");
    const machine = await startDaemon(inside.command, inside.args, { log });
    await writeMachine(lab.paths, { ...claim.record, artifact: hash, process: machine, helpers: [tpm] });
    await waitForFile(files.controlSocket, "QEMU's control socket", log, context, () => isRunning(machine));
    context.emit({ type: "node.phase", node: node.name, phase: "started", note: accelerator });
  },

  status: machineStatus,

  events: (lab, node, offset) => readEvents(eventLog(lab.paths, node), offset),

  async request(lab, node, request) {
    const files = machineFiles("", lab.paths.runtime, node, "");
    await sendLine(files.controlSocket, JSON.stringify(request));
  },

  consoleLog: (paths, node) => join(machineDirectory(paths, node), "console.log"),

  consoleAttachment: async (paths, node) => ({ socket: machineFiles("", paths.runtime, node, "").consoleSocket }),

  async stop(lab, node, context) {
    const record = await readMachine(lab.paths, node);
    if (record === undefined || !(await isRunning(record.process))) return;
    await this.request(lab, node, { id: `stop-${record.process!.pid}`, command: "poweroff" }).catch(() => undefined);
    for (let waited = 0; waited < stopGraceMs && (await isRunning(record.process)); waited += 200) {
      await delay(200, context.signal);
    }
    await endAll(record);
  },

  async destroy(lab) {
    for (const record of await listMachines(lab.paths)) {
      if (record.substrate !== "qemu") continue;
      await endAll(record);
      const files = machineFiles("", lab.paths.runtime, record.node, "");
      for (const socket of [files.tpmSocket, files.consoleSocket, files.controlSocket])
        await rm(socket, { force: true });
      await removeMachine(lab.paths, record.node);
    }
    await removeRest(lab.paths);
  },
};

/** Operator's peer, network and empty directories: the end of every `down`. */
export async function removeRest(paths: SpecPaths): Promise<void> {
  await disconnectOperator(paths);
  await destroyNetwork(paths);
  await rm(join(paths.state, "layer"), { recursive: true, force: true });
  await rm(join(paths.state, "run.json"), { force: true });
  for (const directory of [join(paths.state, "nodes"), paths.runtime]) await rmdir(directory).catch(() => undefined);
}

async function endAll(record: {
  process?: { pid: number; startTime: string };
  helpers: { pid: number; startTime: string }[];
}) {
  await endDaemon(record.process, 3_000);
  for (const helper of record.helpers) await endDaemon(helper, 1_000);
}

async function makeDisk(disk: string, image: string, node: SpecNode, context: RunContext): Promise<void> {
  if ((await stat(disk).catch(() => undefined)) !== undefined) return;
  const args = ["create", "-q", "-f", "qcow2", "-b", image, "-F", "raw", disk, `${node.diskGiB}G`];
  await run("qemu-img", args, { signal: context.signal, timeoutMs: 60_000 });
}

async function writeSeed(file: string, seed: NodeSeed): Promise<void> {
  await writeFile(`${file}.new`, seed.disk, { mode: 0o600 });
  await rm(file, { force: true });
  await copyFile(`${file}.new`, file);
  await chmod(file, 0o600);
  await rm(`${file}.new`);
}

async function makeTap(lab: Lab, node: SpecNode, context: RunContext): Promise<void> {
  const tap = tapName(node);
  await runInNetwork(lab.paths, "ip", ["link", "delete", tap], context, { okStatuses: [0, 1] });
  await runInNetwork(lab.paths, "ip", ["tuntap", "add", tap, "mode", "tap"], context);
  await runInNetwork(
    lab.paths,
    "ip",
    ["link", "set", tap, "mtu", String(lab.spec.underlay.mtu), "master", bridge, "up"],
    context,
  );
}

async function waitForFile(
  file: string,
  what: string,
  log: string,
  context: RunContext,
  alive: () => Promise<boolean> = () => Promise.resolve(true),
): Promise<void> {
  for (let tries = 0; tries < socketTries; tries++) {
    if ((await stat(file).catch(() => undefined)) !== undefined) return;
    if (!(await alive())) break;
    await delay(50, context.signal);
  }
  throw new KubedosError("failed", `${what} did not appear: ${file}\n${await logTail(log)}`);
}

import { mkdir, readFile, readlink, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { delay } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { endDaemon, isRunning, startDaemon, type Daemon } from "../host/daemon.ts";
import type { SpecPaths } from "../host/paths.ts";
import { findMarked, processesInNetworkOf } from "../host/processes.ts";
import { run, type RunResult } from "../host/run.ts";

/** The bridge of a cluster inside its network namespace. */
export const bridge = "kd0";

const readyTries = 250;
const readyPollMs = 20;

/**
 * The isolated network of one cluster: a network namespace of its own, kept by a process that only sleeps, with one
 * bridge as the underlay. As root it is a plain network namespace; without root it belongs to a user namespace. Nothing
 * in it can reach the host's network, nor the other way round. Done again, it completes what is missing.
 */
export async function prepareNetwork(paths: SpecPaths, mtu: number, context: RunContext): Promise<void> {
  if (!(await networkIsUp(paths))) await startHolder(paths, context.signal);
  await runInNetwork(paths, "ip", ["link", "set", "lo", "up"], context);
  if (!(await linkExists(paths, bridge, context))) {
    // No spanning tree and no snooping: a port forwards from its first packet on.
    const options = ["stp_state", "0", "forward_delay", "0", "mcast_snooping", "0"];
    await runInNetwork(paths, "ip", ["link", "add", bridge, "type", "bridge", ...options], context);
  }
  await runInNetwork(paths, "ip", ["link", "set", bridge, "mtu", String(mtu), "up"], context);
}

/** Command and arguments that run something in the cluster's network. */
export async function inNetwork(
  paths: Pick<SpecPaths, "state">,
  command: string,
  args: readonly string[],
): Promise<{ command: string; args: string[] }> {
  const holder = await readHolder(paths);
  if (!(await isRunning(holder))) {
    throw new KubedosError("failed", "the cluster's network is not there", { hint: "run `kubedos up` first" });
  }
  const pid = holder!.pid;
  const enter = isRoot() ? [] : [`--user=/proc/${pid}/ns/user`, "--preserve-credentials"];
  return { command: "nsenter", args: [...enter, `--net=/proc/${pid}/ns/net`, "--", command, ...args] };
}

/** Runs a command in the cluster's network and waits for it. */
export async function runInNetwork(
  paths: Pick<SpecPaths, "state">,
  command: string,
  args: readonly string[],
  context: { signal?: AbortSignal },
  options: { input?: string; okStatuses?: readonly number[]; hint?: string } = {},
): Promise<RunResult> {
  const inside = await inNetwork(paths, command, args);
  return run(inside.command, inside.args, { signal: context.signal, timeoutMs: 30_000, ...options });
}

export async function networkIsUp(paths: Pick<SpecPaths, "state">): Promise<boolean> {
  return isRunning(await readHolder(paths));
}

/** Whether the cluster's network has an interface of that name. */
export async function linkExists(
  paths: Pick<SpecPaths, "state">,
  name: string,
  context: { signal?: AbortSignal },
): Promise<boolean> {
  const okStatuses = [0, 1];
  return (await runInNetwork(paths, "ip", ["link", "show", "dev", name], context, { okStatuses })).status === 0;
}

/**
 * Ends the namespace with everything that still runs in it (shells of `kubedos ssh`, the operator's peer); its bridge,
 * taps and routes go with it.
 */
export async function destroyNetwork(paths: Pick<SpecPaths, "state">): Promise<void> {
  const holder = await readHolder(paths);
  if (holder !== undefined && (await isRunning(holder))) {
    const inside = await processesInNetworkOf(holder);
    await Promise.all(inside.map((daemon) => endDaemon(daemon, 1_000)));
    await endDaemon(holder, 1_000);
  }
  for (const stray of await findMarked(holderMark(paths))) await endDaemon(stray, 1_000);
  for (const file of [holderFile(paths), logFile(paths)]) await rm(file, { force: true });
}

async function startHolder(paths: SpecPaths, signal: AbortSignal): Promise<void> {
  await mkdir(paths.state, { recursive: true });
  const mark = holderMark(paths);
  for (const stray of await findMarked(mark)) await endDaemon(stray, 1_000); // kubedos was killed right here
  const kind = isRoot() ? ["--net"] : ["--user", "--map-root-user", "--net"];
  const holder = await startDaemon("unshare", [...kind, "sleep", "infinity"], { log: logFile(paths), mark });
  try {
    await waitForNamespace(holder, signal);
    await writeFile(`${holderFile(paths)}.new`, `${JSON.stringify(holder)}\n`);
    await rename(`${holderFile(paths)}.new`, holderFile(paths));
  } catch (error) {
    await endDaemon(holder, 1_000);
    throw error;
  }
}

/** unshare(1) becomes the sleeping process only after it has made the namespace. */
async function waitForNamespace(holder: Daemon, signal: AbortSignal): Promise<void> {
  const own = await readlink("/proc/self/ns/net");
  for (let tries = 0; tries < readyTries; tries++) {
    if (!(await isRunning(holder))) break;
    const theirs = await readlink(`/proc/${holder.pid}/ns/net`).catch(() => own);
    const name = await readFile(`/proc/${holder.pid}/comm`, "utf8").catch(() => "");
    if (theirs !== own && name.trim() === "sleep") return;
    await delay(readyPollMs, signal);
  }
  throw new KubedosError("failed", "a network namespace could not be made", {
    hint: "without root this needs unprivileged user namespaces; `kubedos doctor` checks them",
  });
}

async function readHolder(paths: Pick<SpecPaths, "state">): Promise<Daemon | undefined> {
  const text = await readFile(holderFile(paths), "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Daemon);
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

function holderFile(paths: Pick<SpecPaths, "state">): string {
  return join(paths.state, "network.json");
}

function holderMark(paths: Pick<SpecPaths, "state">): string {
  return holderFile(paths);
}

function logFile(paths: Pick<SpecPaths, "state">): string {
  return join(paths.state, "network.log");
}

import { mkdir, readFile, readlink, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { delay } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { endDaemon, isRunning, startDaemon, type Daemon } from "../host/daemon.ts";
import type { SpecPaths } from "../host/paths.ts";
import { run } from "../host/run.ts";

/** The bridge of a cluster inside its network namespace. */
export const bridge = "kd0";

const readyTries = 100;

/**
 * The isolated network of one cluster: a network namespace of its own, kept by a process that only sleeps, with one
 * bridge as the underlay. As root it is a plain network namespace; without root it belongs to a user namespace. Nothing
 * in it can reach the host's network, nor the other way round.
 */
export async function prepareNetwork(paths: SpecPaths, mtu: number, context: RunContext): Promise<void> {
  if (await isRunning(await readHolder(paths))) return;
  await mkdir(paths.state, { recursive: true });
  const holder = await startDaemon("unshare", [...userNamespace(), "--net", "sleep", "infinity"], {
    log: join(paths.state, "network.log"),
  });
  await writeFile(holderFile(paths), `${JSON.stringify(holder)}\n`);
  await waitForNamespace(holder, context.signal);
  const steps = [
    ["link", "set", "lo", "up"],
    [
      "link",
      "add",
      bridge,
      "mtu",
      String(mtu),
      "type",
      "bridge",
      "stp_state",
      "0",
      "forward_delay",
      "0",
      "mcast_snooping",
      "0",
    ],
    ["link", "set", bridge, "up"],
  ];
  for (const step of steps) await runInNetwork(paths, "ip", step, context);
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
  const enter = process.getuid?.() === 0 ? [] : [`--user=/proc/${pid}/ns/user`, "--preserve-credentials"];
  return { command: "nsenter", args: [...enter, `--net=/proc/${pid}/ns/net`, "--", command, ...args] };
}

/** Runs a command in the cluster's network and waits for it. */
export async function runInNetwork(
  paths: Pick<SpecPaths, "state">,
  command: string,
  args: readonly string[],
  context: { signal?: AbortSignal },
  options: { input?: string; okStatuses?: readonly number[] } = {},
) {
  const inside = await inNetwork(paths, command, args);
  return run(inside.command, inside.args, { signal: context.signal, timeoutMs: 30_000, ...options });
}

export async function networkIsUp(paths: Pick<SpecPaths, "state">): Promise<boolean> {
  return isRunning(await readHolder(paths));
}

/** Ends the namespace; its bridge, taps and routes go with it. */
export async function destroyNetwork(paths: SpecPaths): Promise<void> {
  await endDaemon(await readHolder(paths), 1_000);
  await rm(holderFile(paths), { force: true });
  await rm(join(paths.state, "network.log"), { force: true });
}

function userNamespace(): string[] {
  return process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"];
}

/** unshare(1) becomes the sleeping process only after it has made the namespace. */
async function waitForNamespace(holder: Daemon, signal: AbortSignal): Promise<void> {
  const own = await readlink("/proc/self/ns/net");
  for (let tries = 0; tries < readyTries; tries++) {
    const theirs = await readlink(`/proc/${holder.pid}/ns/net`).catch(() => own);
    const name = await readFile(`/proc/${holder.pid}/comm`, "utf8").catch(() => "");
    if (theirs !== own && name.trim() === "sleep") return;
    await delay(20, signal);
  }
  throw new KubedosError("failed", "a network namespace could not be made", {
    hint: "without root this needs unprivileged user namespaces; `kubedos doctor` checks them",
  });
}

async function readHolder(paths: Pick<SpecPaths, "state">): Promise<Daemon | undefined> {
  const text = await readFile(holderFile(paths), "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Daemon);
}

function holderFile(paths: Pick<SpecPaths, "state">): string {
  return join(paths.state, "network.json");
}

import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { KubedosError } from "../../shared/error.ts";
import { findNode, controlPlane, planeAddress } from "../../shared/render/peers.ts";
import { parseNetwork } from "../../shared/render/ipv4.ts";
import { operatorLogin } from "../../shared/render/render.ts";
import { operatorSetconf } from "../../shared/render/wireguard.ts";
import type { OperatorAccess } from "../fabric/keys.ts";
import { delay } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { endDaemon, isRunning, logTail, startDaemon, type Daemon } from "../host/daemon.ts";
import type { SpecPaths } from "../host/paths.ts";
import { run, cleanEnvironment } from "../host/run.ts";
import { bridge, inNetwork, runInNetwork } from "./network.ts";

interface OperatorState {
  interfaceName: string;
  wireguard?: Daemon;
  agent: Daemon;
}

const readyTries = 100;

/**
 * Makes this machine a peer on the control plane: an interface in the cluster's own network (the host's routes stay as
 * they are), an ssh-agent with the operator's key, and the nodes' host keys. Done again, it does nothing.
 */
export async function connectOperator(
  paths: SpecPaths,
  layer: ClusterLayer,
  access: OperatorAccess,
  context: RunContext,
): Promise<void> {
  const state = await readState(paths);
  if (state !== undefined && (await isRunning(state.agent))) return;
  await disconnectOperator(paths);
  await mkdir(paths.runtime, { recursive: true, mode: 0o700 });
  // 1. A place on the underlay: its own address.
  const { prefix } = parseNetwork(layer.underlay.cidr);
  await runInNetwork(paths, "ip", ["address", "replace", `${access.underlay}/${prefix}`, "dev", bridge], context);
  // 2. The peer.
  const interfaceName = operatorInterface(paths);
  const wireguard = await makeInterface(paths, interfaceName, context);
  const plane = controlPlane(layer);
  const operator = layer.operators.find((item) => item.name === access.name);
  if (operator === undefined) throw new KubedosError("failed", `operator ${access.name} is not in the cluster layer`);
  // The private key stays in memory: it goes to wg by standard input.
  const configuration = operatorSetconf(layer, operator).replace(
    "[Interface]\n",
    `[Interface]\nPrivateKey = ${access.wireguard.privateKey}\n`,
  );
  // Standard input of a child is a socket, which wg cannot open by name: cat makes it a pipe.
  const setconf = ["-c", 'cat | wg setconf "$1" /dev/stdin', "sh", interfaceName];
  await runInNetwork(paths, "sh", setconf, context, { input: configuration });
  for (const step of [
    ["address", "add", `${access.address}/32`, "dev", interfaceName],
    ["link", "set", interfaceName, "mtu", String(plane.mtu), "up"],
    ["route", "replace", plane.cidr, "dev", interfaceName],
  ]) {
    await runInNetwork(paths, "ip", step, context);
  }
  // 3. SSH: the key in an agent of its own, the host keys in a file.
  const agent = await startAgent(paths, access.sshPrivateKey, context);
  await writeFile(
    knownHosts(paths),
    layer.nodes.map((node) => `${alias(layer, node.name)} ssh-ed25519 ${node.hostKey}\n`).join(""),
  );
  const next: OperatorState = { interfaceName, wireguard, agent };
  await writeFile(stateFile(paths), `${JSON.stringify(next)}\n`);
}

/** Command that logs in to a node over the control plane, with its host key checked. */
export async function sshCommand(
  paths: SpecPaths,
  layer: ClusterLayer,
  node: string,
  args: readonly string[],
): Promise<{ command: string; args: string[] }> {
  const state = await readState(paths);
  if (state === undefined || !(await isRunning(state.agent))) {
    throw new KubedosError("failed", "the operator's peer is not connected", {
      hint: "run `kubedos up` again: it connects what is not",
    });
  }
  const target = planeAddress(controlPlane(layer), findNode(layer, node));
  return inNetwork(paths, "ssh", [
    "-F",
    "none",
    ...Object.entries({
      IdentityAgent: agentSocket(paths),
      UserKnownHostsFile: knownHosts(paths),
      GlobalKnownHostsFile: "/dev/null",
      HostKeyAlias: alias(layer, node),
      StrictHostKeyChecking: "yes",
      PasswordAuthentication: "no",
      ConnectTimeout: "20",
      LogLevel: "ERROR",
    }).flatMap(([name, value]) => ["-o", `${name}=${value}`]),
    `${operatorLogin}@${target}`,
    ...args,
  ]);
}

/** Takes the operator's peer down; the network stays. */
export async function disconnectOperator(paths: SpecPaths): Promise<void> {
  const state = await readState(paths);
  if (state !== undefined) {
    await endDaemon(state.wireguard, 2_000);
    await endDaemon(state.agent, 2_000);
  }
  for (const file of [agentSocket(paths), knownHosts(paths), stateFile(paths), join(paths.state, "operator.log")]) {
    await rm(file, { force: true });
  }
}

/** wireguard-go keeps its control sockets in one directory of the host, so the name is unique on the host. */
function operatorInterface(paths: SpecPaths): string {
  return `kdop-${basename(paths.runtime).slice(0, 8)}`;
}

async function makeInterface(paths: SpecPaths, name: string, context: RunContext): Promise<Daemon | undefined> {
  const probe = await runInNetwork(paths, "ip", ["link", "add", name, "type", "wireguard"], context, {
    okStatuses: [0, 1, 2],
  });
  if (probe.status === 0) return undefined;
  const inside = await inNetwork(paths, "wireguard-go", ["--foreground", name]);
  const log = join(paths.state, "operator.log");
  const daemon = await startDaemon(inside.command, inside.args, { log });
  for (let tries = 0; tries < readyTries; tries++) {
    const shown = await runInNetwork(paths, "wg", ["show", name], context, { okStatuses: [0, 1] });
    if (shown.status === 0) return daemon;
    if (!(await isRunning(daemon))) break;
    await delay(50, context.signal);
  }
  await endDaemon(daemon, 1_000);
  throw new KubedosError("failed", `the operator's WireGuard interface did not come up\n${await logTail(log)}`, {
    hint: "the kernel has no WireGuard: `apt-get install wireguard-go`; it needs /dev/net/tun and, for its socket, root",
  });
}

async function startAgent(paths: SpecPaths, key: string, context: RunContext): Promise<Daemon> {
  const socket = agentSocket(paths);
  await rm(socket, { force: true });
  const agent = await startDaemon("ssh-agent", ["-D", "-a", socket], { log: join(paths.state, "operator.log") });
  for (let tries = 0; tries < readyTries; tries++) {
    if ((await stat(socket).catch(() => undefined)) !== undefined) break;
    await delay(20, context.signal);
  }
  const env = cleanEnvironment({ SSH_AUTH_SOCK: socket });
  await run("ssh-add", ["-q", "-"], { env, input: key, signal: context.signal, timeoutMs: 10_000 });
  return agent;
}

function alias(layer: ClusterLayer, node: string): string {
  return `${node}.${layer.cluster}`;
}

function agentSocket(paths: SpecPaths): string {
  return join(paths.runtime, "agent");
}

function knownHosts(paths: SpecPaths): string {
  return join(paths.state, "known_hosts");
}

function stateFile(paths: SpecPaths): string {
  return join(paths.state, "operator.json");
}

async function readState(paths: SpecPaths): Promise<OperatorState | undefined> {
  const text = await readFile(stateFile(paths), "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as OperatorState);
}

import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { KubedosError } from "../../shared/error.ts";
import { parseNetwork } from "../../shared/render/ipv4.ts";
import { controlPlane, findNode, planeAddress } from "../../shared/render/peers.ts";
import { operatorLogin } from "../../shared/render/render.ts";
import { operatorSetconf } from "../../shared/render/wireguard.ts";
import type { OperatorAccess } from "../fabric/keys.ts";
import type { RunContext } from "../host/context.ts";
import { endDaemon, isRunning, logTail, startDaemon, type Daemon } from "../host/daemon.ts";
import { waitForListener } from "../host/listening.ts";
import type { SpecPaths } from "../host/paths.ts";
import { findMarked } from "../host/processes.ts";
import { cleanEnvironment, quoteForShell, run } from "../host/run.ts";
import { makeRuntimeDirectory, socketPath } from "../host/runtime-directory.ts";
import { bridge, inNetwork, linkExists, runInNetwork } from "./network.ts";

interface OperatorState {
  /** wireguard-go; absent where the kernel has WireGuard. */
  wireguard?: Daemon;
  agent?: Daemon;
}

/** The operator's interface in the cluster's network. */
export const operatorInterface = "kdop";

const readyTimeoutMs = 10_000;

/**
 * Makes this machine a peer on the control plane: an interface in the cluster's own network (the host's routes stay as
 * they are), an ssh-agent with the operator's key, and the nodes' host keys. Done again, it takes over what has changed
 * in the layer and starts what has died. Private keys go to `wg` and `ssh-add` by standard input and to no file.
 */
export async function connectOperator(
  paths: SpecPaths,
  layer: ClusterLayer,
  access: OperatorAccess,
  context: RunContext,
): Promise<void> {
  const { agent } = await readState(paths);
  const connected = await isRunning(agent);
  try {
    await connect(paths, layer, access, context);
  } catch (error) {
    if (!connected) await disconnectOperator(paths); // what worked before goes on working
    throw error;
  }
}

async function connect(
  paths: SpecPaths,
  layer: ClusterLayer,
  access: OperatorAccess,
  context: RunContext,
): Promise<void> {
  const operator = layer.operators.find((item) => item.name === access.name);
  if (operator === undefined) throw new KubedosError("failed", `operator ${access.name} is not in the cluster layer`);
  await makeRuntimeDirectory(paths.runtime);
  // 1. A place on the underlay.
  const { prefix } = parseNetwork(layer.underlay.cidr);
  await runInNetwork(paths, "ip", ["address", "replace", `${access.underlay}/${prefix}`, "dev", bridge], context);
  // 2. The peer.
  const configuration = operatorSetconf(layer, operator).replace(
    "[Interface]\n",
    () => `[Interface]\nPrivateKey = ${access.wireguard.privateKey}\n`,
  );
  await ensureConfigured(paths, configuration, context);
  const plane = controlPlane(layer);
  for (const step of [
    ["address", "replace", `${access.address}/32`, "dev", operatorInterface],
    ["link", "set", operatorInterface, "mtu", String(plane.mtu), "up"],
    ["route", "replace", plane.cidr, "dev", operatorInterface],
  ]) {
    await runInNetwork(paths, "ip", step, context);
  }
  // 3. SSH: the key in an agent of its own, the host keys in a file.
  await ensureAgent(paths, access.sshPrivateKey, context);
  const hostKeys = layer.nodes.map((node) => `${alias(layer, node.name)} ssh-ed25519 ${node.hostKey}\n`);
  await writeWhole(knownHosts(paths), hostKeys.join(""));
}

/**
 * Command that logs in to a node over the control plane, with its host key checked. One argument is a command line for
 * the remote shell; of several, each arrives as it is.
 *
 * @throws KubedosError when the operator's peer is not connected
 */
export async function sshCommand(
  paths: SpecPaths,
  layer: ClusterLayer,
  node: string,
  args: readonly string[],
): Promise<{ command: string; args: string[] }> {
  const { agent } = await readState(paths);
  if (!(await isRunning(agent))) {
    throw new KubedosError("failed", "the operator's peer is not connected", {
      hint: "run `kubedos up` again: it connects what is not",
    });
  }
  const options = {
    IdentityAgent: agentSocket(paths),
    IdentityFile: "none", // of keys, only the agent's
    UserKnownHostsFile: knownHosts(paths),
    GlobalKnownHostsFile: "/dev/null",
    HostKeyAlias: alias(layer, node),
    StrictHostKeyChecking: "yes",
    UpdateHostKeys: "no",
    PreferredAuthentications: "publickey",
    ForwardAgent: "no",
    ConnectTimeout: "20",
    ServerAliveInterval: "15",
    LogLevel: "ERROR",
  };
  const words = args[0] === "--" ? args.slice(1) : args;
  const remote = words.length > 1 ? [words.map(quoteForShell).join(" ")] : words;
  return inNetwork(paths, "ssh", [
    ...["-F", "none"],
    ...Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${quoteForSshConfig(value)}`]),
    `${operatorLogin}@${planeAddress(controlPlane(layer), findNode(layer, node))}`,
    ...(remote.length === 0 ? [] : ["--", ...remote]),
  ]);
}

/** Takes the operator's peer down; the network stays. */
export async function disconnectOperator(paths: SpecPaths): Promise<void> {
  const { wireguard, agent } = await readState(paths);
  for (const daemon of [wireguard, agent, ...(await findMarked(mark(paths)))]) await endDaemon(daemon, 2_000);
  await rm(privateRun(paths), { recursive: true, force: true });
  for (const file of [join(paths.runtime, agentName), knownHosts(paths), stateFile(paths), logFile(paths)]) {
    await rm(file, { force: true });
  }
}

/** The interface with its configuration; a second time where its process was just about to end. */
async function ensureConfigured(paths: SpecPaths, configuration: string, context: RunContext): Promise<void> {
  const wireguard = await ensureInterface(paths, context);
  try {
    await configureInterface(paths, wireguard, configuration, context);
  } catch (error) {
    if (wireguard === undefined || context.signal.aborted) throw error;
    await endDaemon(wireguard, 1_000);
    await configureInterface(paths, await ensureInterface(paths, context), configuration, context);
  }
}

/** The interface, by the kernel where it has WireGuard, else by wireguard-go, whose process is returned. */
async function ensureInterface(paths: SpecPaths, context: RunContext): Promise<Daemon | undefined> {
  const { wireguard: running } = await readState(paths);
  if (await linkExists(paths, operatorInterface, context)) {
    if (running === undefined || (await isRunning(running))) return running;
    // It goes by itself a moment after wireguard-go: status 1.
    await runInNetwork(paths, "ip", ["link", "delete", operatorInterface], context, { okStatuses: [0, 1] });
  }
  for (const stray of await findMarked(mark(paths))) await endDaemon(stray, 1_000);
  await changeState(paths, { wireguard: undefined, agent: undefined });
  const probe = await runInNetwork(paths, "ip", ["link", "add", operatorInterface, "type", "wireguard"], context, {
    okStatuses: [0, 1, 2],
  });
  if (probe.status === 0) return undefined;
  return startWireguardGo(paths, context);
}

/**
 * wireguard-go keeps its control socket in /run/wireguard, where an interface name is taken once a host and only root
 * may write: it gets a /run of its own.
 */
async function startWireguardGo(paths: SpecPaths, context: RunContext): Promise<Daemon> {
  await rm(privateRun(paths), { recursive: true, force: true }); // a dead one's socket would look like a live one's
  await mkdir(privateRun(paths), { recursive: true, mode: 0o700 });
  const script = 'mount --bind "$1" /run && exec wireguard-go --foreground "$2"';
  const inside = await inNetwork(paths, "unshare", [
    ...["--mount", "--propagation", "private", "--"],
    ...["sh", "-c", script, "sh", privateRun(paths), operatorInterface],
  ]);
  const daemon = await startDaemon(inside.command, inside.args, { log: logFile(paths), mark: mark(paths) });
  await changeState(paths, { wireguard: daemon });
  const socket = `/wireguard/${operatorInterface}.sock`;
  if (await waitForListener(daemon, socket, readyTimeoutMs, context.signal)) return daemon;
  await endDaemon(daemon, 1_000);
  throw new KubedosError(
    "failed",
    `the operator's WireGuard interface did not come up\n${await logTail(logFile(paths))}`,
    { hint: "this kernel has no WireGuard: `apt-get install wireguard-go`, and make /dev/net/tun writable" },
  );
}

/**
 * Gives a configuration to the interface, for wireguard-go with its /run. wg(8) opens its input by name, which the
 * kernel refuses for a socket, and a socket is what a child of node has: hence the pipe.
 */
async function configureInterface(
  paths: SpecPaths,
  wireguard: Daemon | undefined,
  configuration: string,
  context: RunContext,
): Promise<void> {
  const script = 'cat | wg syncconf "$1" /dev/stdin';
  const { command, args } = await inNetwork(paths, "sh", ["-c", script, "sh", operatorInterface]);
  const mount = wireguard === undefined ? [] : [`--mount=/proc/${wireguard.pid}/ns/mnt`];
  await run(command, [...mount, ...args], { input: configuration, signal: context.signal, timeoutMs: 30_000 });
}

async function ensureAgent(paths: SpecPaths, key: string, context: RunContext): Promise<void> {
  const socket = agentSocket(paths);
  const { agent: running } = await readState(paths);
  if (!(await isRunning(running))) {
    await rm(socket, { force: true });
    const agent = await startDaemon("ssh-agent", ["-D", "-a", socket], { log: logFile(paths), mark: mark(paths) });
    await changeState(paths, { agent });
    if (!(await waitForListener(agent, socket, readyTimeoutMs, context.signal))) {
      throw new KubedosError("failed", `ssh-agent did not start\n${await logTail(logFile(paths))}`);
    }
  }
  const env = cleanEnvironment({ SSH_AUTH_SOCK: socket });
  const limits = { env, signal: context.signal, timeoutMs: 10_000 };
  await run("ssh-add", ["-q", "-D"], limits); // keys of an older generation
  await run("ssh-add", ["-q", "-"], { ...limits, input: key });
}

/** ssh_config(5): an argument with spaces is enclosed in double quotes; % starts a token. */
function quoteForSshConfig(value: string): string {
  return `"${value.replaceAll("%", "%%")}"`;
}

function alias(layer: ClusterLayer, node: string): string {
  return `${node}.${layer.cluster}`;
}

const agentName = "agent";

function agentSocket(paths: SpecPaths): string {
  return socketPath(paths.runtime, agentName);
}

function privateRun(paths: SpecPaths): string {
  return join(paths.runtime, "run");
}

function knownHosts(paths: SpecPaths): string {
  return join(paths.state, "known_hosts");
}

function logFile(paths: SpecPaths): string {
  return join(paths.state, "operator.log");
}

function stateFile(paths: SpecPaths): string {
  return join(paths.state, "operator.json");
}

function mark(paths: SpecPaths): string {
  return stateFile(paths);
}

async function readState(paths: SpecPaths): Promise<OperatorState> {
  const text = await readFile(stateFile(paths), "utf8").catch(() => undefined);
  return text === undefined ? {} : (JSON.parse(text) as OperatorState);
}

async function changeState(paths: SpecPaths, change: OperatorState): Promise<void> {
  await writeWhole(stateFile(paths), `${JSON.stringify({ ...(await readState(paths)), ...change })}\n`);
}

async function writeWhole(file: string, content: string): Promise<void> {
  await writeFile(`${file}.new`, content, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

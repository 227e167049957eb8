import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { operatorAccess } from "../../src/fabric/keys.ts";
import { clusterLayer } from "../../src/fabric/layer.ts";
import { buildSeed } from "../../src/fabric/seed.ts";
import { cleanEnvironment, run } from "../../src/host/run.ts";
import { bridge, inNetwork, linkExists, runInNetwork } from "../../src/substrates/network.ts";
import { connectOperator, disconnectOperator, operatorInterface, sshCommand } from "../../src/substrates/operator.ts";
import { qemuSubstrate } from "../../src/substrates/qemu/index.ts";
import { fixedVault } from "../../src/vault/testing.ts";
import { fakeNetwork, type FakeMachine, type FakeNetwork } from "../fakes/netns.ts";
import { makeLab, removeLab, type TestLab } from "./lab.ts";

const vault = fixedVault();
const hubAddress = "10.101.0.1";

/** The operator's own peer, against a hub that is a network namespace with wireguard-go. */
describe("operator's peer", () => {
  let lab: TestLab;
  let layer: ClusterLayer;
  let network: FakeNetwork;

  beforeEach(async () => {
    lab = await makeLab("qemu");
    lab.spec.trust.operators = [{ name: "admin", slot: 1 }];
    layer = clusterLayer(lab.spec, vault, { openings: [] });
    network = fakeNetwork();
    await qemuSubstrate.prepare(lab, lab.context);
  });

  afterEach(async () => {
    await network.close();
    await qemuSubstrate.destroy(lab, lab.context).finally(() => removeLab(lab));
  });

  const access = () => operatorAccess(lab.spec, vault, "admin");
  const connect = () => connectOperator(lab.paths, layer, access(), lab.context);

  it("reaches the hub on the control plane, and only through the cluster's own network", async () => {
    const hub = await startHub();
    await connect();
    expect(await greeting(hub)).toBe("hello");
    const { stdout } = await run("ip", ["-j", "link", "show"]);
    expect(stdout).not.toContain(operatorInterface);
    expect(await readdir("/run/wireguard").catch(() => [])).not.toContain(`${operatorInterface}.sock`);
  });

  it("takes over a changed layer and leaves running what runs", async () => {
    await connect();
    const before = await readFile(join(lab.paths.state, "operator.json"), "utf8");
    layer = { ...layer, nodes: layer.nodes.map((node) => ({ ...node, name: `${node.name}-new` })) };
    await connect();
    expect(await readFile(join(lab.paths.state, "operator.json"), "utf8")).toBe(before);
    expect(await readFile(join(lab.paths.state, "known_hosts"), "utf8")).toBe(
      layer.nodes.map((node) => `${node.name}.example ssh-ed25519 ${node.hostKey}\n`).join(""),
    );
  });

  it("starts again what was killed", async () => {
    const hub = await startHub();
    await connect();
    const { wireguard, agent } = JSON.parse(await readFile(join(lab.paths.state, "operator.json"), "utf8")) as Record<
      string,
      { pid: number } | undefined
    >;
    for (const daemon of [wireguard, agent]) if (daemon !== undefined) process.kill(daemon.pid, "SIGKILL");
    await connect();
    expect(await greeting(hub)).toBe("hello");
    expect(await agentKeys()).toHaveLength(1);
  });

  it("gives the agent the operator's key and no other, and writes no secret down", async () => {
    await connect();
    await connect();
    expect(await agentKeys()).toEqual([expect.stringContaining(access().sshPublicKey.split(" ")[1]!)]);
    const secrets = [access().wireguard.privateKey, access().sshPrivateKey.split("\n")[2]!];
    for (const file of await filesBelow(lab.paths.state)) {
      const text = await readFile(file, "utf8");
      for (const secret of secrets) expect(text, file).not.toContain(secret);
    }
    expect((await stat(lab.paths.runtime)).mode & 0o077).toBe(0);
  });

  it("logs in with the node's own host key, the agent's key and nothing of the user's", async () => {
    await connect();
    const { command, args } = await sshCommand(lab.paths, layer, "core-1", []);
    const at = args.indexOf("ssh") + 1;
    const { stdout } = await run(command, [...args.slice(0, at), "-G", ...args.slice(at)]);
    const settings = Object.fromEntries(
      stdout.split("\n").map((line) => [line.split(" ")[0], line.slice(line.indexOf(" ") + 1)]),
    );
    expect(settings).toMatchObject({
      hostname: "10.101.0.2",
      user: "kubedos",
      hostkeyalias: "core-1.example",
      stricthostkeychecking: "true",
      userknownhostsfile: join(lab.paths.state, "known_hosts"),
      identityagent: join(lab.paths.runtime, "agent"),
      identityfile: "none",
      forwardagent: "no",
    });
  });

  it("hands several arguments over as they are, and one as a command line", async () => {
    await connect();
    const remote = async (...words: string[]) => (await sshCommand(lab.paths, layer, "core-1", words)).args.at(-1);
    expect(await remote("--", "grep", "a b", "$HOME")).toBe("grep 'a b' '$HOME'");
    expect(await remote("--", "ps | wc")).toBe("ps | wc");
  });

  it("is taken down without a trace; the network stays", async () => {
    await connect();
    await disconnectOperator(lab.paths);
    expect((await readdir(lab.paths.state)).filter((name) => !name.startsWith("network"))).toEqual([]);
    expect(await readdir(lab.paths.runtime)).toEqual([]);
    expect(await linkExists(lab.paths, bridge, lab.context)).toBe(true);
    await expect(sshCommand(lab.paths, layer, "core-1", [])).rejects.toThrow("not connected");
  });

  /** A hub on the underlay that says hello on its address of the control plane. */
  async function startHub(): Promise<FakeMachine> {
    const hub = await network.machine("hub");
    await joinBridge(hub.run("readlink", ["/proc/self/ns/net"]).trim());
    hub.run("ip", ["address", "add", "10.100.0.11/24", "dev", "host0"]);
    hub.run("ip", ["link", "set", "host0", "up"]);
    hub.start("wireguard-go", ["--foreground", "wg1"]);
    const key = Buffer.from(buildSeed(lab.spec, vault, "hub-1").credentials["network.wireguard.private.wg1"]!);
    const script = `until wg show wg1 2>/dev/null; do sleep 0.05; done
printf %s "$1" > /run/key
exec wg set wg1 listen-port 51821 private-key /run/key peer "$2" allowed-ips "$3/32"`;
    hub.run("sh", ["-c", script, "sh", key.toString(), layer.operators[0]!.publicKey, access().address]);
    hub.run("ip", ["address", "add", `${hubAddress}/24`, "dev", "wg1"]);
    hub.run("ip", ["link", "set", "wg1", "up"]);
    const server = `require("net").createServer((s) => s.end("hello")).listen(22, "${hubAddress}", () => console.log("ready"))`;
    const child = hub.start(process.execPath, ["-e", server]);
    await new Promise((resolve) => child.stdout!.once("data", resolve));
    return hub;
  }

  /** Joins the network namespace with that inode to the lab's bridge. */
  async function joinBridge(namespace: string): Promise<void> {
    const { stdout } = await run("sh", [
      "-c",
      'for p in /proc/[0-9]*; do [ "$(readlink $p/ns/net)" = "$1" ] && basename $p && break; done',
      "sh",
      namespace,
    ]);
    const ip = (...args: string[]) => runInNetwork(lab.paths, "ip", args, lab.context);
    await ip("link", "add", "port0", "type", "veth", "peer", "name", "host0", "netns", stdout.trim());
    await ip("link", "set", "port0", "master", bridge, "up");
  }

  async function greeting(hub: FakeMachine): Promise<string> {
    const client = `const s = require("net").connect(22, "${hubAddress}"); s.setTimeout(8000, () => process.exit(1)); s.pipe(process.stdout)`;
    const inside = await inNetwork(lab.paths, process.execPath, ["-e", client]);
    const { stdout } = await run(inside.command, inside.args, { timeoutMs: 10_000 });
    expect(hub.run("wg", ["show", "wg1", "latest-handshakes"])).not.toMatch(/\t0$/m);
    return stdout;
  }

  async function agentKeys(): Promise<string[]> {
    const env = cleanEnvironment({ SSH_AUTH_SOCK: join(lab.paths.runtime, "agent") });
    return (await run("ssh-add", ["-L"], { env })).stdout.trim().split("\n");
  }
});

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

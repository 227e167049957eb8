import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { renderNode, renderedPaths } from "../../shared/render/render.ts";
import { operatorSetconf } from "../../shared/render/wireguard.ts";
import { operatorAccess } from "../../src/fabric/keys.ts";
import { clusterLayer } from "../../src/fabric/layer.ts";
import { buildSeed, openSeed } from "../../src/fabric/seed.ts";
import { signifyPublicKey } from "../../src/vault/signify.ts";
import { fixedVault } from "../../src/vault/testing.ts";
import { fakeNetwork, type FakeMachine, type FakeNetwork } from "../fakes/netns.ts";
import { fakeSpec } from "../fakes/spec.ts";

/**
 * What a node renders from the cluster layer, put to work: each node a network namespace with wireguard-go, the keys
 * of its opened seed and its nftables rules, joined by a bridge. Only systemd-networkd is played by `ip` here.
 */

const vault = fixedVault();

/** Connects to `address port` pairs and prints `open`, `refused` or `silent` for each. */
const prober = `
const net = require("node:net");
const one = (target) => new Promise((done) => {
  const [host, port, localAddress] = target.split("|");
  const socket = net.connect({ host, port: Number(port), ...(localAddress ? { localAddress } : {}) });
  const end = (outcome) => { socket.destroy(); done(outcome); };
  socket.setTimeout(1500, () => end("silent"));
  socket.on("connect", () => end("open"));
  socket.on("error", (error) => end(error.code === "ECONNREFUSED" ? "refused" : error.code === "ETIMEDOUT" ? "silent" : error.code));
});
Promise.all(process.argv.slice(1).map(one)).then((outcomes) => console.log(JSON.stringify(outcomes)));`;

/** Listens on all addresses, as a careless service would: only the firewall stands before it. */
const listener = `
const net = require("node:net");
let waiting = process.argv.length - 1;
for (const port of process.argv.slice(1)) net.createServer((s) => s.end()).listen(Number(port), "0.0.0.0", () => { if (--waiting === 0) console.log("ready"); });`;

const servedPorts = [22, 7443, 9100, 6443, 8000];

class Lab {
  readonly network: FakeNetwork = fakeNetwork();
  readonly machines = new Map<string, FakeMachine>();
  readonly directory = mkdtempSync(join(tmpdir(), "kubedos-planes-"));
  readonly layer: ClusterLayer;
  readonly #topology: "mesh" | "hub";

  constructor(topology: "mesh" | "hub") {
    this.#topology = topology;
    this.layer = clusterLayer(this.spec(), vault, {
      openings: [
        { service: "ssh", plane: "control", protocol: "tcp", port: 22, from: ["hub", "operators"] },
        { service: "agent", plane: "control", protocol: "tcp", port: 7443 },
        { service: "node-metrics", plane: "observability", protocol: "tcp", port: 9100, from: ["nodes"] },
      ],
    });
  }

  spec() {
    const spec = fakeSpec();
    spec.trust.operators = [{ name: "admin", slot: 1 }];
    for (const plane of spec.planes) plane.topology = this.#topology;
    return spec;
  }

  async up(): Promise<void> {
    const bridge = await this.network.machine("bridge");
    bridge.run("ip", ["link", "add", "br0", "type", "bridge"]);
    bridge.run("ip", ["link", "set", "br0", "up"]);
    for (const { name, underlay } of this.layer.nodes) {
      this.machines.set(
        name,
        await this.network.machine(name, { interfaceName: "host0", address: `${underlay}/24`, bridge }),
      );
      await this.#configure(name);
    }
    const access = operatorAccess(this.spec(), vault, "admin");
    const place = { interfaceName: "host0", address: `${access.underlay}/24`, bridge };
    const operator = await this.network.machine("operator", place);
    this.machines.set("operator", operator);
    const setconf = this.#file("operator.conf", operatorSetconf(this.layer, this.layer.operators[0]!));
    await this.#wireguard(operator, "wg1", setconf, access.wireguard.privateKey, `${access.address}/24`, "1420");
    for (const machine of this.machines.values()) {
      const child = machine.start("node", ["-e", listener, ...servedPorts.map(String)]);
      await once(child.stdout!, "data");
    }
  }

  /** Does what the node's units do with the files that it rendered. */
  async #configure(name: string): Promise<void> {
    const machine = this.machines.get(name)!;
    const { disk } = buildSeed(this.spec(), vault, name);
    const { credentials } = openSeed(
      disk,
      signifyPublicKey(vault.signing.publicKey),
      this.layer.clusterId,
      this.layer.nodes,
    );
    const files = new Map(
      renderNode(this.layer, name, { userspaceWireguard: true, underlayInterface: "host0" }).map((f) => [
        f.path,
        f.content,
      ]),
    );
    machine.run("nft", ["-f", this.#file(`${name}.nft`, files.get(renderedPaths.nftables)!)]);
    for (const { name: plane } of this.layer.planes) {
      const network = files.get(`${renderedPaths.networkd}/20-kubedos-${plane}.network`)!;
      const value = (key: string) => new RegExp(`^${key}=(.*)$`, "m").exec(network)![1]!;
      const setconf = this.#file(`${name}-${plane}.conf`, files.get(`${renderedPaths.wireguard}/${plane}.conf`)!);
      const key = Buffer.from(credentials[`network.wireguard.private.${plane}`]!).toString();
      await this.#wireguard(machine, plane, setconf, key, value("Address"), value("MTUBytes"));
      const forwarding = value("IPv4Forwarding") === "yes" ? "1" : "0";
      machine.run("sh", ["-c", `echo ${forwarding} > /proc/sys/net/ipv4/conf/${plane}/forwarding`]);
    }
  }

  async #wireguard(machine: FakeMachine, name: string, setconf: string, key: string, address: string, mtu: string) {
    machine.start("wireguard-go", ["--foreground", name]);
    for (let tries = 0; ; tries++) {
      try {
        machine.run("wg", ["setconf", name, setconf]);
        break;
      } catch (error) {
        if (tries === 100) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    machine.run("wg", ["set", name, "private-key", this.#file(`${machine.name}-${name}.key`, key)]);
    machine.run("ip", ["address", "add", address, "dev", name]);
    machine.run("ip", ["link", "set", name, "mtu", mtu, "up"]);
  }

  #file(name: string, content: string): string {
    const path = join(this.directory, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  }

  /** What connections from one machine come to; a target is `address|port` or `address|port|source address`. */
  probe(from: string, targets: readonly string[]): string[] {
    return JSON.parse(this.machines.get(from)!.run("node", ["-e", prober, ...targets])) as string[];
  }

  pings(from: string, address: string): boolean {
    const script = 'fping -q -c 1 -t 3000 "$1" 2>/dev/null; echo $?';
    const status = this.machines.get(from)!.run("sh", ["-c", script, "sh", address]).trim();
    if (status !== "0" && status !== "1") throw new Error(`fping ${address}: status ${status}`);
    return status === "0";
  }

  async down(): Promise<void> {
    await this.network.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const names = ["hub-1", "core-1", "worker-1"];

function everyPairPings(lab: Lab): string[] {
  return names.flatMap((from) =>
    [101, 102, 103].flatMap((net) =>
      [1, 2, 3]
        .map((index) => `10.${net}.0.${index}`)
        .filter((address) => !lab.pings(from, address))
        .map((address) => `${from} to ${address}`),
    ),
  );
}

describe("a mesh", () => {
  const lab = new Lab("mesh");
  beforeAll(() => lab.up());
  afterAll(() => lab.down());

  test("every pair answers on every plane", () => {
    expect(everyPairPings(lab)).toEqual([]);
  });

  test("a plane serves what is opened on it, to whom it is opened, and refuses the rest at once", () => {
    const worker = ["10.101.0.3|22", "10.101.0.3|7443", "10.101.0.3|9100", "10.102.0.3|9100", "10.103.0.3|8000"];
    expect(lab.probe("hub-1", worker)).toEqual(["open", "open", "refused", "open", "refused"]);
    expect(lab.probe("core-1", worker)).toEqual(["refused", "open", "refused", "open", "refused"]);
  });

  test("the underlay answers echo requests and nothing else", () => {
    expect(lab.pings("core-1", "10.100.0.11")).toBe(true);
    const targets = servedPorts.map((port) => `10.100.0.11|${port}`);
    expect(lab.probe("core-1", targets)).toEqual(targets.map(() => "silent"));
  });

  test("a plane's address is not reached over the underlay, whatever source is claimed", () => {
    const stranger = lab.machines.get("operator")!;
    stranger.run("ip", ["route", "add", "10.103.0.1/32", "via", "10.100.0.11"]);
    stranger.run("ip", ["address", "add", "10.103.0.2/32", "dev", "lo"]);
    expect(lab.probe("operator", ["10.103.0.1|8000", "10.103.0.1|8000|10.103.0.2"])).toEqual(["silent", "silent"]);
    const rules = lab.machines.get("hub-1")!.run("nft", ["list", "chain", "inet", "kubedos", "underlay_in"]);
    expect(rules).toMatch(/ip saddr .* counter packets [1-9]/);
    expect(rules).toMatch(/ip daddr .* counter packets [1-9]/);
  });

  test("the operator reaches every node's ssh, through the hub where it is no peer, and no node reaches the operator", () => {
    const targets = ["10.101.0.1|22", "10.101.0.2|22", "10.101.0.3|22", "10.101.0.3|7443", "10.101.0.3|8000"];
    expect(lab.probe("operator", targets)).toEqual(["open", "open", "open", "open", "refused"]);
    expect(lab.probe("worker-1", ["10.101.0.254|8000"])).toEqual(["silent"]);
  });

  test("a node that breaks its own rules still does not get from one plane into another", () => {
    // On its own machine it may do anything: no firewall, the hub's wg1 address sent into wg2.
    const { layer } = lab;
    const worker = lab.machines.get("worker-1")!;
    const hubKey = layer.nodes[0]!.keys[1]!;
    worker.run("nft", ["flush", "ruleset"]);
    worker.run("wg", ["set", "wg2", "peer", hubKey, "allowed-ips", "10.102.0.1/32,10.101.0.1/32"]);
    worker.run("ip", ["route", "add", "10.101.0.1/32", "dev", "wg2", "src", "10.102.0.3"]);
    expect(lab.probe("worker-1", ["10.102.0.1|9100", "10.101.0.1|9100", "10.101.0.1|7443"])).toEqual([
      "open",
      "silent",
      "silent",
    ]);
  });

  test("when a plane is down, its packets do not leave in clear over the underlay", () => {
    const core = lab.machines.get("core-1")!;
    core.run("ip", ["route", "add", "default", "via", "10.100.0.11"]);
    core.run("ip", ["link", "set", "wg3", "down"]);
    expect(lab.pings("core-1", "10.103.0.1")).toBe(false);
    const output = core.run("nft", ["list", "chain", "inet", "kubedos", "output"]);
    expect(output).toMatch(/oifname != "wg3" ip daddr 10\.103\.0\.0\/24 counter packets [1-9]/);
  });
});

describe("a hub topology", () => {
  const lab = new Lab("hub");
  beforeAll(() => lab.up());
  afterAll(() => lab.down());

  test("every pair answers on every plane, spokes through the hub", () => {
    expect(everyPairPings(lab)).toEqual([]);
    const peers = lab.machines.get("worker-1")!.run("wg", ["show", "wg1", "peers"]).trim().split("\n");
    expect(peers).toEqual([lab.layer.nodes[0]!.keys[0]]);
  });

  test("the hub carries, the receiver decides", () => {
    expect(lab.probe("core-1", ["10.101.0.3|7443", "10.101.0.3|22", "10.102.0.3|9100"])).toEqual([
      "open",
      "refused",
      "open",
    ]);
    expect(lab.probe("operator", ["10.101.0.3|22"])).toEqual(["open"]);
  });
});

import { readlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { endDaemon, startDaemon, type Daemon } from "../../src/host/daemon.ts";
import { run } from "../../src/host/run.ts";
import { projectRoot, start } from "../cli/kubedos.ts";
import { until, type Scratch } from "./support.ts";

/** A network of its own with `kubedos serve-netboot` on its bridge, 10.77.0.1/24. */
export interface Rack {
  /** Connects one machine: arguments of QEMU. */
  plug(mac: string, romfile?: ""): Promise<string[]>;
  /** What starts a command inside. */
  enter: readonly string[];
  /** What the server has said. */
  said(): string;
  says(pattern: RegExp): Promise<void>;
  /** Ends the server as Ctrl-C does. @returns its output */
  stop(): Promise<string>;
}

/** An empty network, as long as its holder lives, and what starts a command inside. */
async function startNetwork(scratch: Scratch, name: string): Promise<{ holder: Daemon; enter: readonly string[] }> {
  const log = join(scratch.directory, `${name}.log`);
  const holder = await startDaemon("unshare", ["--net", "sleep", "infinity"], { log, mark: scratch.directory });
  const enter = ["nsenter", `--net=/proc/${holder.pid}/ns/net`];
  await until("the network", 20, async () => {
    const [own, its] = await Promise.all(["self", holder.pid].map((pid) => readlink(`/proc/${pid}/ns/net`)));
    return own !== its || undefined;
  });
  return { holder, enter };
}

/** The rack's own DHCP server, 10.77.0.2, which knows nothing of netboot. @returns what ends it */
export async function startDhcp(scratch: Scratch, rack: Rack): Promise<() => Promise<void>> {
  const at = (name: string) => join(scratch.directory, `dhcp.${name}`);
  const { holder, enter } = await startNetwork(scratch, "dhcp.network");
  const inside = (...words: string[]) => run("nsenter", [enter[1]!, ...words]);
  const peer = ["peer", "name", "eth0", "netns", String(holder.pid)];
  await run("nsenter", [rack.enter[1]!, "ip", "link", "add", "other", "type", "veth", ...peer]);
  await run("nsenter", [rack.enter[1]!, "ip", "link", "set", "other", "master", "kd0", "up"]);
  await inside("ip", "address", "add", "10.77.0.2/24", "dev", "eth0");
  await inside("ip", "link", "set", "eth0", "up");
  const lines = ["port=0", "interface=eth0", "bind-interfaces", "dhcp-range=10.77.0.50,10.77.0.90,255.255.255.0,1h"];
  await writeFile(at("conf"), [...lines, `dhcp-leasefile=${at("leases")}`, "user=root", ""].join("\n"));
  const words = [enter[1]!, "dnsmasq", "--keep-in-foreground", `--conf-file=${at("conf")}`];
  const server = await startDaemon("nsenter", words, { log: at("log"), mark: scratch.directory });
  return async () => {
    await endDaemon(server, 1_000);
    await endDaemon(holder, 1_000);
  };
}

/** Makes the network, starts the server with these arguments, and ends both whatever happens. */
export async function withRack(
  scratch: Scratch,
  name: string,
  args: readonly string[],
  use: (rack: Rack) => Promise<void>,
): Promise<void> {
  const { holder, enter } = await startNetwork(scratch, `${name}.rack`);
  const inside = (command: string, ...words: string[]) => run("nsenter", [enter[1]!, command, ...words]);
  try {
    await inside("ip", "link", "set", "lo", "up");
    await inside("ip", "link", "add", "kd0", "type", "bridge", "stp_state", "0", "forward_delay", "0");
    await inside("ip", "address", "add", "10.77.0.1/24", "dev", "kd0");
    await inside("ip", "link", "set", "kd0", "up");
    const words = [enter[1]!, join(projectRoot, "kubedos"), "serve-netboot", ...args, "--interface", "kd0"];
    const server = start("nsenter", words, { env: scratch.env });
    let taps = 0;
    const rack: Rack = {
      enter,
      async plug(mac, romfile) {
        const tap = `tap${taps++}`;
        await inside("ip", "tuntap", "add", tap, "mode", "tap");
        await inside("ip", "link", "set", tap, "master", "kd0", "up");
        const rom = romfile === undefined ? "" : ",romfile=";
        return [
          ...["-netdev", `tap,id=net,ifname=${tap},script=no,downscript=no`],
          ...["-device", `virtio-net-pci,netdev=net,mac=${mac},bootindex=0${rom}`],
          ...["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"],
        ];
      },
      said: () => server.stderr(),
      async says(pattern) {
        const seen = async () => pattern.test(server.stderr()) || undefined;
        await until(`${pattern} from the server`, 240, seen, async () => server.stderr());
      },
      async stop() {
        server.kill("SIGINT");
        const { stdout, stderr } = await server.ended;
        return `${stdout}\n${stderr}`;
      },
    };
    try {
      await rack.says(/serving/);
      await use(rack);
    } finally {
      server.kill("SIGINT");
      await server.ended;
    }
  } finally {
    await endDaemon(holder, 1_000);
  }
}

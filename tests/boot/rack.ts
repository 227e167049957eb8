import { join } from "node:path";
import { endDaemon, startDaemon } from "../../src/host/daemon.ts";
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

/** Makes the network, starts the server with these arguments, and ends both whatever happens. */
export async function withRack(
  scratch: Scratch,
  name: string,
  args: readonly string[],
  use: (rack: Rack) => Promise<void>,
): Promise<void> {
  const log = join(scratch.directory, `${name}.rack.log`);
  const holder = await startDaemon("unshare", ["--net", "sleep", "infinity"], { log, mark: scratch.directory });
  const enter = ["nsenter", `--net=/proc/${holder.pid}/ns/net`];
  const inside = (command: string, ...words: string[]) => run("nsenter", [enter[1]!, command, ...words]);
  try {
    await until("the network", 20, async () => {
      const links = await run("nsenter", [enter[1]!, "ip", "-o", "link"], { okStatuses: [0, 1] });
      return links.stdout.trim().split("\n").length === 1 || undefined;
    });
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

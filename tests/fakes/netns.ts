import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";

/** A machine as far as the network goes: own network and mount namespaces, with an empty /run. */
export interface FakeMachine {
  name: string;
  /** Runs a command in it and gives its output; throws when it fails. */
  run(command: string, args: readonly string[]): string;
  /** Starts a command in it that stays. */
  start(command: string, args: readonly string[]): ChildProcess;
}

export interface FakeNetwork {
  machine(
    name: string,
    underlay?: { interfaceName: string; address: string; bridge: FakeMachine },
  ): Promise<FakeMachine>;
  close(): Promise<void>;
}

/** Makes machines that are joined by nothing but what the caller joins; needs root. */
export function fakeNetwork(): FakeNetwork {
  const children: ChildProcess[] = [];
  const track = (child: ChildProcess) => {
    children.push(child);
    return child;
  };
  let links = 0;

  async function machine(...[name, underlay]: Parameters<FakeNetwork["machine"]>): Promise<FakeMachine> {
    const script = "mount -t tmpfs none /run && ip link set lo up && echo ready && exec sleep infinity";
    const holder = track(
      spawn("unshare", ["--net", "--mount", "sh", "-c", script], { stdio: ["ignore", "pipe", "inherit"] }),
    );
    await once(holder.stdout!, "data");
    const inside = (command: string, args: readonly string[]) => [
      "-t",
      String(holder.pid),
      "-n",
      "-m",
      "--",
      command,
      ...args,
    ];
    const made: FakeMachine = {
      name,
      run(command, args) {
        const { status, stdout, stderr } = spawnSync("nsenter", inside(command, args), { encoding: "utf8" });
        if (status !== 0)
          throw new Error(`${name}: ${command} ${args.join(" ")}: status ${status}\n${stderr}${stdout}`);
        return stdout;
      },
      start: (command, args) => track(spawn("nsenter", inside(command, args), { stdio: ["ignore", "pipe", "ignore"] })),
    };
    if (underlay !== undefined) {
      const { interfaceName, address, bridge } = underlay;
      const port = `port${links++}`;
      bridge.run("ip", [
        "link",
        "add",
        port,
        "type",
        "veth",
        "peer",
        "name",
        interfaceName,
        "netns",
        String(holder.pid),
      ]);
      bridge.run("ip", ["link", "set", port, "master", "br0", "up"]);
      made.run("ip", ["address", "add", address, "dev", interfaceName]);
      made.run("ip", ["link", "set", interfaceName, "up"]);
    }
    return made;
  }

  return {
    machine,
    async close() {
      for (const child of children.toReversed()) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        child.kill("SIGKILL");
        await once(child, "exit");
      }
    },
  };
}

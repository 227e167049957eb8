import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { agentPorts } from "../../shared/agent-api.ts";
import type { KubedosEvent } from "../../shared/events.ts";
import { endDaemon, isRunning, sendLine, startDaemon } from "../../src/host/daemon.ts";
import { chooseAccelerator, type Accelerator } from "../../src/substrates/qemu/accelerator.ts";
import { until, type Scratch } from "./support.ts";

/** What these tests read of a machine's configuration. */
export interface MachineConfig {
  "boot-source": { kernel_image_path: string; initrd_path: string; boot_args: string };
  drives: { drive_id: string; path_on_host: string; is_read_only: boolean }[];
  "machine-config": { vcpu_count: number; mem_size_mib: number };
  "network-interfaces": { guest_mac: string }[];
}

/** A microVM that runs. */
export interface MicroVm {
  console(): Promise<string>;
  events(): Promise<KubedosEvent[]>;
  /** Waits for text on the console. */
  shows(pattern: RegExp): Promise<void>;
  /** Waits until the machine has powered itself off. */
  ends(): Promise<void>;
  /** Asks the agent. @throws Error when no answer comes */
  ask(command: object): Promise<unknown>;
  reaches(phase: string): Promise<void>;
}

const accelerators = { kvm: ["kvm", "-cpu", "host"], tcg: ["tcg,thread=multi,tb-size=256", "-cpu", "max"] } as const;

/**
 * A fake of Firecracker: a program that starts QEMU's microvm machine as the configuration says, in whatever directory
 * it is started. As Firecracker does, it announces a device in the kernel's words, before those for the initrd; and the
 * kernel tells all it has to say. The network is a multicast group on this host's loopback; beside Firecracker's devices there are the agent's two ports,
 * which the test listens to.
 */
export async function fakeFirecracker(
  directory: string,
  node: string,
  config: MachineConfig,
  multicastPort: number,
  accelerator: Accelerator,
): Promise<string> {
  const { "boot-source": boot, "machine-config": machine, drives } = config;
  const more = [
    "virtio_mmio.device=4K@0xd0000000:5",
    "ignore_loglevel",
    ...(accelerator === "tcg" ? await clockWords() : []),
  ];
  const words = boot.boot_args.replace(" -- ", ` ${more.join(" ")} -- `);
  const args = [
    ["-M", "microvm,acpi=on", "-accel", ...accelerators[accelerator], "-nodefaults", "-no-user-config"],
    ["-display", "none", "-monitor", "none", "-no-reboot", "-serial", "stdio"],
    ["-smp", String(machine.vcpu_count), "-m", String(machine.mem_size_mib)],
    ["-kernel", boot.kernel_image_path, "-initrd", boot.initrd_path, "-append", words],
    drives.flatMap(({ drive_id: id, path_on_host: file, is_read_only: readOnly }) => [
      ...["-drive", `if=none,id=${id},format=raw,file=${file},readonly=${readOnly ? "on" : "off"}`],
      ...["-device", `virtio-blk-device,drive=${id}`],
    ]),
    ["-netdev", `socket,id=net,mcast=230.0.0.1:${multicastPort},localaddr=127.0.0.1`],
    ["-device", `virtio-net-device,netdev=net,mac=${config["network-interfaces"][0]!.guest_mac}`],
    ["-device", "virtio-rng-device", "-device", "virtio-serial-device"],
    ["-chardev", `file,id=events,path=${directory}/${node}.events`],
    ["-device", `virtserialport,chardev=events,name=${agentPorts.events}`],
    ["-chardev", `socket,id=control,path=${directory}/${node}.ctl,server=on,wait=off`],
    ["-device", `virtserialport,chardev=control,name=${agentPorts.control}`],
  ].flat();
  const program = join(directory, `${node}.firecracker`);
  const quoted = args.map((arg) => `'${arg.replaceAll("'", `'\\''`)}'`).join(" ");
  const record = `printf '%s\\n' "$PWD" "$@" > '${directory}/${node}.started'`;
  await writeFile(program, `#!/bin/sh\n${record}\nexec qemu-system-x86_64 ${quoted}\n`, { mode: 0o755 });
  return program;
}

/** Without KVM's clock the kernel would measure its own against a timer, which fails on a busy host: the host's rate. */
async function clockWords(): Promise<string[]> {
  const megahertz = /^cpu MHz\s*:\s*([\d.]+)$/m.exec(await readFile("/proc/cpuinfo", "utf8"))?.[1] ?? "2000";
  return [`tsc_early_khz=${Math.round(Number(megahertz) * 1000)}`, "tsc=reliable"];
}

/** Starts a node by the artifact's own script, gives it to `use`, and ends it whatever happens. */
export async function withMicroVm<T>(
  scratch: Scratch,
  options: { script: string; node: string; seed: string; args: readonly string[]; config: MachineConfig; port: number },
  use: (machine: MicroVm) => Promise<T>,
): Promise<T> {
  const { script, node, seed, args, config, port } = options;
  const directory = join(scratch.directory, "microvm");
  await mkdir(directory, { recursive: true });
  const accelerator = await chooseAccelerator(scratch.context);
  const program = await fakeFirecracker(directory, node, config, port, accelerator);
  const log = join(directory, `${node}.console`);
  const daemon = await startDaemon("env", [`FIRECRACKER=${program}`, script, node, seed, ...args], { log });
  const text = (name: string) => readFile(join(directory, `${node}.${name}`), "utf8").catch(() => "");
  const console = async () => (await text("console")).replaceAll("\0", "").replaceAll("\r", "");
  const end = async () => (await console()).slice(-3_000);
  const events = async () =>
    (await text("events"))
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as KubedosEvent);
  let id = 0;
  const wait = <V>(what: string, poll: () => Promise<V | undefined>) =>
    until(
      what,
      400,
      async () => {
        const running = await isRunning(daemon);
        const value = await poll();
        if (value === undefined && !running) throw new Error(`${node} ended before ${what}\n${await end()}`);
        return value;
      },
      end,
    );
  try {
    return await use({
      console,
      events,
      async shows(pattern) {
        await wait(`${pattern} on the console`, async () => (pattern.test(await console()) ? true : undefined));
      },
      async ends() {
        await until(`${node} to be off`, 60, async () => ((await isRunning(daemon)) ? undefined : true), end);
      },
      async reaches(phase) {
        await wait(`the phase ${phase} of ${node}`, async () =>
          (await events()).some((event) => event.type === "node.phase" && event.phase === phase) ? true : undefined,
        );
      },
      async ask(command) {
        const socket = join(directory, `${node}.ctl`);
        await wait("the agent's port", () => stat(socket).catch(() => undefined));
        const request = `ask-${++id}`;
        await sendLine(socket, JSON.stringify({ id: request, ...command }));
        return wait(`an answer to ${JSON.stringify(command)}`, async () => {
          const reply = (await events()).find((event) => event.type === "node.reply" && event.id === request);
          return reply?.type === "node.reply" ? { data: reply.data } : undefined;
        }).then(({ data }) => data);
      },
    });
  } finally {
    await endDaemon(daemon, 2_000);
  }
}

import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import type { KubedosEvent, NodeFacts } from "../../shared/events.ts";
import { delay, nowMs } from "../../src/host/clock.ts";
import { endDaemon, isRunning, sendLine, startDaemon } from "../../src/host/daemon.ts";
import { run } from "../../src/host/run.ts";
import type { SpecNode } from "../../src/spec/types.ts";
import { chooseAccelerator } from "../../src/substrates/qemu/accelerator.ts";
import { machineFiles, qemuArguments } from "../../src/substrates/qemu/command.ts";
import { withEmulator } from "../media/tpm.ts";
import { until, type Scratch } from "./support.ts";

/** One machine, as the qemu substrate makes it but without a network. */
export interface Machine {
  console(): Promise<string>;
  events(): Promise<KubedosEvent[]>;
  /** Waits for text on the console. @throws Error with the console's end when it does not come or the node's agent runs */
  shows(pattern: RegExp): Promise<void>;
  /** Waits for text on the console, whatever else happens. */
  says(pattern: RegExp): Promise<void>;
  /** What the node's agent says of itself, once it says it. */
  facts(wanted: (facts: NodeFacts) => boolean): Promise<NodeFacts>;
  /** Waits for a phase. @throws Error with the console's end when it does not come or the machine ends before */
  reaches(phase: string): Promise<void>;
  /** Types these keys on the console, one after the other. */
  types(...keys: string[]): Promise<void>;
  /** Waits until the machine has powered itself off. */
  ends(): Promise<void>;
}

export interface PowerOn {
  name: string;
  node: SpecNode;
  image: string;
  firmware: { code: string; vars: string };
  /** Content of the seed disk; absent: there is no such disk. */
  seed: Uint8Array | undefined;
  extraArguments?: string[];
  /** Go on with disk, firmware variables and TPM of the machine that had this name before. */
  again?: boolean;
  /** Arguments of QEMU whose value begins with one of these go, with their flag. */
  without?: string[];
}

/** For a machine that hangs. Without KVM, beside other machines and on a slow host, one that does not takes over 240 s. */
const limitSeconds = 400;
/** A question that was not answered by then was not heard. */
const answerMs = 30_000;
/** Between an answer and the next question. */
const pauseMs = 3_000;
/** Firmware reads a serial line slowly. */
const keyPauseMs = 1_000;
/** Two machines at a time: the hosts that run these tests have two cores. */
const slots = { free: 2, waiting: [] as (() => void)[] };

/** Powers one machine on, gives it to `use`, and ends it whatever happens. */
export async function withMachine(
  scratch: Scratch,
  options: PowerOn,
  use: (machine: Machine) => Promise<void>,
): Promise<void> {
  await inSlot(() => powerOn(scratch, options, use));
}

/** Does something when fewer than two machines run. */
export async function inSlot(work: () => Promise<void>): Promise<void> {
  if (slots.free === 0) await new Promise<void>((resolve) => slots.waiting.push(resolve));
  else slots.free -= 1;
  try {
    await work();
  } finally {
    const next = slots.waiting.shift();
    if (next === undefined) slots.free += 1;
    else next();
  }
}

async function powerOn(scratch: Scratch, options: PowerOn, use: (machine: Machine) => Promise<void>): Promise<void> {
  const directory = join(scratch.directory, options.name);
  await mkdir(directory, { recursive: true });
  const files = machineFiles(directory, directory, "m", options.firmware.code);
  if (options.again !== true) {
    const size = `${options.node.diskGiB}G`;
    await copyFile(options.firmware.vars, files.vars);
    await run("qemu-img", ["create", "-q", "-f", "qcow2", "-b", options.image, "-F", "raw", files.disk, size]);
  }
  for (const log of [files.console, files.events]) await rm(log, { force: true });
  if (options.seed !== undefined) await writeFile(files.seed, options.seed);
  const log = join(directory, "log");
  const tpm = { state: join(directory, "tpm"), socket: files.tpmSocket, speaks: "control", log } as const;
  await withEmulator(tpm, async () => {
    const { signal } = scratch.context;
    const accelerator = await chooseAccelerator(scratch.context);
    const left = [
      "tap,",
      "virtio-net-pci,",
      ...(options.without ?? []),
      ...(options.seed === undefined ? ["if=none,id=seed,", "virtio-blk-pci,drive=seed"] : []),
    ];
    const args = leaveOut(qemuArguments("boot-test", options.node, files, accelerator), left);
    const qemu = await startDaemon("qemu-system-x86_64", [...args, ...(options.extraArguments ?? [])], { log });
    try {
      signal.throwIfAborted();
      await use(observe(files, log, () => isRunning(qemu)));
    } finally {
      await endDaemon(qemu, 2_000);
    }
  });
}

function observe(
  files: { console: string; consoleSocket: string; events: string; controlSocket: string },
  log: string,
  alive: () => Promise<boolean>,
): Machine {
  const text = (file: string) => readFile(file, "utf8").catch(() => "");
  const console = async () => (await text(files.console)).replaceAll("\0", "").replaceAll("\r", "");
  const end = async () => `${await text(log)}\n${(await console()).slice(-3_000)}`;
  const events = async () => {
    const lines = (await text(files.events)).split("\n").slice(0, -1);
    return lines.map((line) => JSON.parse(line) as KubedosEvent);
  };
  let terminal: Socket | undefined;
  const phases = async () => (await events()).flatMap((event) => (event.type === "node.phase" ? [event.phase] : []));
  return {
    console,
    events,
    async shows(pattern) {
      const seen = async () => {
        if (pattern.test(await console())) return true;
        if ((await phases()).includes("rendered")) throw new Error(`the machine started all the same\n${await end()}`);
        return undefined;
      };
      await until(`${pattern} on the console`, limitSeconds, seen, end);
    },
    async reaches(phase) {
      const seen = async () => {
        const running = await alive();
        if ((await phases()).some((reached) => reached === phase)) return true;
        if (!running) throw new Error(`the machine ended before ${phase}\n${await end()}`);
        return undefined;
      };
      await until(`the phase ${phase}`, limitSeconds, seen, end);
    },
    async says(pattern) {
      const seen = async () => pattern.test(await console()) || undefined;
      await until(`${pattern} on the console`, limitSeconds, seen, end);
    },
    async facts(wanted) {
      await until("the agent", limitSeconds, async () => (await phases()).includes("rendered") || undefined, end);
      let asked = { id: 0, at: 0 };
      const ask = async () => {
        const replies = (await events()).filter((event) => event.type === "node.reply");
        const facts = replies.map(({ data }) => data as NodeFacts).findLast(wanted);
        const answered = asked.id === 0 || replies.some(({ id }) => id === `facts-${asked.id}`);
        // One question at a time: each costs the machine time that it needs to become what is waited for.
        if (facts === undefined && (answered || nowMs() - asked.at > answerMs)) {
          if (asked.id > 0) await delay(pauseMs);
          asked = { id: asked.id + 1, at: nowMs() };
          const request = { id: `facts-${asked.id}`, command: "facts" };
          await sendLine(files.controlSocket, JSON.stringify(request)).catch(() => undefined);
        }
        return facts;
      };
      return until("the facts that are waited for", limitSeconds, ask, end);
    },
    async types(...keys) {
      if (terminal === undefined) {
        // Read, or the machine waits until somebody does; and kept, because what is being written to it is lost at its end.
        terminal = connect(files.consoleSocket).resume();
        await once(terminal, "connect");
        terminal.on("error", () => undefined);
      }
      for (const key of keys) {
        terminal.write(key);
        await delay(keyPauseMs);
      }
    },
    async ends() {
      await until("the end of the machine", limitSeconds, async () => !(await alive()) || undefined, end);
    },
  };
}

/** Options whose value begins with one of these go, with their flag. */
function leaveOut(args: readonly string[], beginnings: readonly string[]): string[] {
  const goes = (value: string | undefined) => beginnings.some((beginning) => value?.startsWith(beginning) === true);
  return args.filter((word, index) => !goes(word) && !(word.startsWith("-") && goes(args[index + 1])));
}

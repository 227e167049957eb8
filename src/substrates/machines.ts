import { mkdir, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import type { KubedosEvent } from "../../shared/events.ts";
import { isRunning, type Daemon } from "../host/daemon.ts";
import type { SpecPaths } from "../host/paths.ts";
import type { Spec } from "../spec/types.ts";
import type { MachineStatus } from "./types.ts";

/**
 * What a machine's directory `<state>/nodes/<name>/machine.json` says: the ownership mark. A directory without it was not
 * made by kubedos and is left alone.
 */
export interface MachineRecord {
  madeBy: "kubedos";
  cluster: string;
  node: string;
  substrate: string;
  /** sha256 of the artifact it boots. */
  artifact: string;
  /** Main process, once started. */
  process?: Daemon;
  /** Processes beside it (TPM emulator). */
  helpers: Daemon[];
}

const logName = "events.jsonl";

export function machineDirectory(paths: Pick<SpecPaths, "state">, node: string): string {
  return join(paths.state, "nodes", node);
}

/** The record of a machine; undefined when there is no directory. */
export async function readMachine(paths: Pick<SpecPaths, "state">, node: string): Promise<MachineRecord | undefined> {
  const directory = machineDirectory(paths, node);
  const text = await readFile(join(directory, "machine.json"), "utf8").catch(() => undefined);
  if (text !== undefined) {
    const record = JSON.parse(text) as MachineRecord;
    if (record.madeBy === "kubedos" && record.node === node) return record;
  }
  const entries = await readdir(directory).catch(() => []);
  if (entries.length === 0) return undefined;
  throw new KubedosError("failed", `${directory} was not made by kubedos for node ${node}`, {
    hint: "move it away; kubedos touches only machines that carry its mark (machine.json)",
  });
}

export async function writeMachine(paths: Pick<SpecPaths, "state">, record: MachineRecord): Promise<void> {
  const directory = machineDirectory(paths, record.node);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const file = join(directory, "machine.json");
  await writeFile(`${file}.new`, `${JSON.stringify(record, undefined, 2)}\n`);
  await rename(`${file}.new`, file);
}

/** Names of all machines with an ownership mark. */
export async function listMachines(paths: Pick<SpecPaths, "state">): Promise<MachineRecord[]> {
  const names = await readdir(join(paths.state, "nodes")).catch(() => []);
  const records = await Promise.all(names.toSorted().map((name) => readMachine(paths, name).catch(() => undefined)));
  return records.filter((record) => record !== undefined);
}

/** State of every machine of the spec, and of machines that the spec no longer has. */
export async function machineStatus(lab: { paths: Pick<SpecPaths, "state">; spec: Spec }): Promise<MachineStatus[]> {
  const records = new Map((await listMachines(lab.paths)).map((record) => [record.node, record]));
  const names = [...new Set([...lab.spec.nodes.map((node) => node.name), ...records.keys()])];
  return Promise.all(
    names.map(async (node): Promise<MachineStatus> => {
      const record = records.get(node);
      if (record === undefined) return { node, state: "absent" };
      const running = await isRunning(record.process);
      const pid = running ? record.process?.pid : undefined;
      return { node, state: running ? "running" : "stopped", pid, artifact: record.artifact };
    }),
  );
}

/**
 * A machine that is to be started: an existing record for the same artifact, or a new one.
 *
 * @throws KubedosError for a stopped machine of another artifact, whose disk holds state
 */
export async function claimMachine(
  paths: Pick<SpecPaths, "state">,
  wanted: Omit<MachineRecord, "madeBy" | "process" | "helpers">,
): Promise<{ record: MachineRecord; running: boolean; fresh: boolean }> {
  const existing = await readMachine(paths, wanted.node);
  if (existing === undefined) {
    const record: MachineRecord = { madeBy: "kubedos", ...wanted, helpers: [] };
    await writeMachine(paths, record);
    return { record, running: false, fresh: true };
  }
  const running = await isRunning(existing.process);
  if (existing.substrate !== wanted.substrate || (!running && existing.artifact !== wanted.artifact)) {
    throw new KubedosError("failed", `${wanted.node} exists with another artifact or substrate`, {
      hint: "`kubedos down` removes it with its state",
    });
  }
  return { record: existing, running, fresh: false };
}

export async function removeMachine(paths: Pick<SpecPaths, "state">, node: string): Promise<void> {
  await rm(machineDirectory(paths, node), { recursive: true, force: true });
}

/** Whole lines of an event log from an offset in bytes; a half-written last line waits for the next call. */
export async function readEvents(file: string, offset: number): Promise<{ events: KubedosEvent[]; offset: number }> {
  const handle = await open(file).catch(() => undefined);
  if (handle === undefined) return { events: [], offset };
  try {
    const { size } = await handle.stat();
    const start = size < offset ? 0 : offset; // the machine was started anew
    const bytes = Buffer.alloc(size - start);
    await handle.read(bytes, 0, bytes.length, start);
    const end = bytes.lastIndexOf(0x0a) + 1;
    const events = bytes
      .subarray(0, end)
      .toString("utf8")
      .split("\n")
      .flatMap((line) => parseEvent(line));
    return { events, offset: start + end };
  } finally {
    await handle.close();
  }
}

/** A node may write anything to its port: what is not an event is passed over. */
function parseEvent(line: string): KubedosEvent[] {
  try {
    const event = JSON.parse(line) as Partial<KubedosEvent> | null;
    return typeof event?.type === "string" && typeof event.at === "string" ? [event as KubedosEvent] : [];
  } catch {
    return [];
  }
}

export function eventLog(paths: Pick<SpecPaths, "state">, node: string): string {
  return join(machineDirectory(paths, node), logName);
}

/** Keeps the events of the last start as `events.previous.jsonl`. */
export async function rotateEvents(file: string): Promise<void> {
  await rename(file, file.replace(/\.jsonl$/, ".previous.jsonl")).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
}

import { constants } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import type { KubedosEvent } from "../../shared/events.ts";
import { endDaemon, isRunning, type Daemon } from "../host/daemon.ts";
import { findMarked } from "../host/processes.ts";
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
const unfinishedRecord = "machine.json.new";
/** Bytes of an event log that are read at once; a line longer than that is no event. */
const chunkBytes = 4 * 1024 * 1024;

export function machineDirectory(paths: Pick<SpecPaths, "state">, node: string): string {
  return join(paths.state, "nodes", node);
}

/** The record of a machine; undefined when there is no directory. */
export async function readMachine(paths: Pick<SpecPaths, "state">, node: string): Promise<MachineRecord | undefined> {
  const directory = machineDirectory(paths, node);
  const text = await readFile(join(directory, "machine.json"), "utf8").catch(() => undefined);
  const record = text === undefined ? undefined : parseRecord(text);
  if (record?.node === node) return record;
  const entries = await readdir(directory).catch(() => []);
  if (entries.every((entry) => entry === unfinishedRecord)) return undefined; // killed before the mark was there
  throw new KubedosError("failed", `${directory} was not made by kubedos for node ${node}`, {
    hint: "move it away; kubedos touches only machines that carry its mark (machine.json)",
  });
}

function parseRecord(text: string): MachineRecord | undefined {
  try {
    const record = JSON.parse(text) as Partial<MachineRecord> | null;
    return record?.madeBy === "kubedos" && Array.isArray(record.helpers) ? (record as MachineRecord) : undefined;
  } catch {
    return undefined;
  }
}

export async function writeMachine(paths: Pick<SpecPaths, "state">, record: MachineRecord): Promise<void> {
  const directory = machineDirectory(paths, record.node);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const unfinished = join(directory, unfinishedRecord);
  await writeFile(unfinished, `${JSON.stringify(record, undefined, 2)}\n`);
  await rename(unfinished, join(directory, "machine.json"));
}

/** Names of all machines with an ownership mark. */
export async function listMachines(paths: Pick<SpecPaths, "state">): Promise<MachineRecord[]> {
  const names = await readdir(join(paths.state, "nodes")).catch(() => []);
  const records = await Promise.all(
    names.toSorted(byName).map((name) => readMachine(paths, name).catch(() => undefined)),
  );
  return records.filter((record) => record !== undefined);
}

function byName(a: string, b: string): number {
  return a < b ? -1 : 1;
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
  const differs = (["cluster", "substrate", ...(running ? [] : (["artifact"] as const))] as const).find(
    (field) => existing[field] !== wanted[field],
  );
  if (differs !== undefined) {
    throw new KubedosError(
      "failed",
      `${wanted.node} exists with another ${differs}: ${existing[differs]}, wanted ${wanted[differs]}`,
      { hint: "`kubedos down` removes it with its state" },
    );
  }
  if (!running) await endStrays(paths, wanted.node);
  return { record: existing, running, fresh: false };
}

/** Mark of a machine's processes; see `startDaemon`. */
export function machineMark(paths: Pick<SpecPaths, "state">, node: string): string {
  return machineDirectory(paths, node);
}

/** Ends processes of a machine that are not in its record: kubedos was killed while it started them. */
export async function endStrays(paths: Pick<SpecPaths, "state">, node: string): Promise<void> {
  for (const stray of await findMarked(machineMark(paths, node))) await endDaemon(stray, 2_000);
}

/**
 * What is left under `nodes/` and carries no ownership mark. It is never touched, but for what a kubedos killed in the
 * first moments of a machine left: an empty directory.
 */
export async function foreignEntries(paths: Pick<SpecPaths, "state">): Promise<string[]> {
  const names = await readdir(join(paths.state, "nodes")).catch(() => []);
  const foreign: string[] = [];
  for (const name of names.toSorted(byName)) {
    const found = await readMachine(paths, name).catch(() => "foreign" as const);
    const directory = machineDirectory(paths, name);
    if (found === undefined) await rm(join(directory, unfinishedRecord), { force: true }).catch(() => undefined);
    const gone = found === undefined && (await rmdir(directory).then(always, never));
    if (!gone) foreign.push(directory);
  }
  return foreign;
}

const always = () => true;
const never = () => false;

/** Removes a machine's files. Only for machines whose record has been read: that is the ownership mark. */
export async function removeMachine(paths: Pick<SpecPaths, "state">, node: string): Promise<void> {
  await rm(machineDirectory(paths, node), { recursive: true, force: true });
}

/**
 * Whole lines of a node's event log from an offset in bytes; a half-written last line waits for the next call. A node may
 * write anything to its log: what is not an event, or speaks for another node, is passed over.
 */
export async function readEvents(
  file: string,
  node: string,
  offset: number,
): Promise<{ events: KubedosEvent[]; offset: number }> {
  // A container can put a link in place of its log.
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW).catch(() => undefined);
  if (handle === undefined) return { events: [], offset };
  try {
    const { size } = await handle.stat();
    const start = size < offset ? 0 : offset; // the machine was started anew
    const buffer = Buffer.alloc(Math.min(size - start, chunkBytes));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, start);
    const bytes = buffer.subarray(0, bytesRead);
    const lines = bytes.lastIndexOf(0x0a) + 1;
    const end = lines === 0 && bytesRead === chunkBytes ? bytesRead : lines;
    const events = bytes
      .subarray(0, lines)
      .toString("utf8")
      .split("\n")
      .flatMap((line) => parseEvent(line, node));
    return { events, offset: start + end };
  } finally {
    await handle.close();
  }
}

function parseEvent(line: string, node: string): KubedosEvent[] {
  try {
    const event = JSON.parse(line) as (Partial<KubedosEvent> & { node?: unknown }) | null;
    if (typeof event?.type !== "string" || typeof event.at !== "string") return [];
    // What a hub says of its convergence names other nodes; everything else a node says is of itself.
    const own = event.node === undefined || event.node === node || event.type.startsWith("converge.");
    return own ? [event as KubedosEvent] : [];
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

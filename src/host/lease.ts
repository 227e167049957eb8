import { randomBytes } from "node:crypto";
import { link, mkdir, readFile, readdir, rename, rm, unlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { delay } from "./clock.ts";
import { uniqueBeside } from "./unique.ts";

/**
 * Leases: small files that say "process P uses this". A lease of a process that has ended, also by `kill -9`, is
 * void: the file holds the pid and the process's start time, so that a reused pid does not keep it alive.
 */

export interface Lease {
  /** Gives the lease up. May be called twice. */
  release(): Promise<void>;
}

const pollMs = 100;

/**
 * Takes an exclusive lease on `file`, waiting while a living process holds it.
 *
 * @param onWait called once with the holder's pid when there is somebody to wait for
 * @throws the signal's reason when aborted while waiting
 */
export async function takeExclusive(
  file: string,
  signal?: AbortSignal,
  onWait?: (pid: number) => void,
): Promise<Lease> {
  let waited = false;
  for (;;) {
    signal?.throwIfAborted();
    const taken = await tryExclusive(file, "", signal);
    if ("release" in taken) return taken;
    if (!waited) onWait?.(taken.pid);
    waited = true;
    await delay(pollMs, signal);
  }
}

/** Who holds an exclusive lease. */
export interface LeaseHolder {
  pid: number;
  /** What it wrote when it took the lease. */
  note: string;
}

/**
 * Takes an exclusive lease on `file`, or says which living process holds it.
 *
 * @param note one line for whoever finds it held
 */
export async function tryExclusive(file: string, note = "", signal?: AbortSignal): Promise<Lease | LeaseHolder> {
  for (;;) {
    signal?.throwIfAborted();
    const content = `${await ownIdentity()} ${randomBytes(8).toString("hex")} ${note}\n`;
    await mkdir(dirname(file), { recursive: true });
    if (await createWhole(file, content)) return { release: () => removeIfContent(file, content) };
    const holder = await readFile(file, "utf8").catch(emptyWhenGone);
    if (holder !== "" && (await isAlive(holder))) {
      const [pid, , , ...words] = holder.trim().split(" ");
      return { pid: Number(pid), note: words.join(" ") };
    }
    // Two may both see a dead holder: only the one whose rename moves that very content goes on.
    if (holder !== "") await breakStale(file, holder);
    else await delay(pollMs, signal); // given up just now
  }
}

/** Pid of the living process that holds an exclusive lease, if any. */
export async function exclusiveHolder(file: string): Promise<number | undefined> {
  const content = await readFile(file, "utf8").catch(() => "");
  return content !== "" && (await isAlive(content)) ? Number(content.split(" ")[0]) : undefined;
}

/** Adds a shared lease of this process to a directory of leases. */
export async function takeShared(directory: string): Promise<Lease> {
  await mkdir(directory, { recursive: true });
  const identity = await ownIdentity();
  const file = join(directory, `${identity.replaceAll(/\W/g, "-")}-${randomBytes(8).toString("hex")}`);
  await createWhole(file, `${identity}\n`);
  return { release: () => rm(file, { force: true }) };
}

/** Pids of the living holders in a directory of shared leases; void leases are removed on the way. */
export async function sharedHolders(directory: string): Promise<number[]> {
  const pids: number[] = [];
  for (const name of await readdir(directory).catch(() => [])) {
    const file = join(directory, name);
    const content = await readFile(file, "utf8").catch(() => "");
    if (content === "") continue;
    if (name.includes(".")) continue; // not whole yet
    if (await isAlive(content)) pids.push(Number(content.split(" ")[0]));
    else await rm(file, { force: true });
  }
  return pids;
}

function emptyWhenGone(error: NodeJS.ErrnoException): string {
  if (error.code === "ENOENT") return "";
  throw error;
}

/** Creates a file with its whole content at once; false when it exists. */
async function createWhole(file: string, content: string): Promise<boolean> {
  const temporary = uniqueBeside(file);
  await writeFile(temporary, content, { flag: "wx", mode: 0o600 });
  try {
    await link(temporary, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  } finally {
    await unlink(temporary);
  }
}

async function removeIfContent(file: string, content: string): Promise<void> {
  const now = await readFile(file, "utf8").catch(() => "");
  if (now === content) await rm(file, { force: true });
}

async function breakStale(file: string, content: string): Promise<void> {
  const aside = `${file}.stale.${randomBytes(6).toString("hex")}`;
  try {
    await rename(file, aside);
  } catch {
    return; // somebody else was faster
  }
  const moved = await readFile(aside, "utf8").catch(() => "");
  if (moved !== content) await link(aside, file).catch(() => undefined); // it was a fresh lease: put it back
  await rm(aside, { force: true });
}

/** `pid starttime` of this process, see proc(5), /proc/pid/stat field 22 (clock ticks since boot). */
async function ownIdentity(): Promise<string> {
  return `${process.pid} ${(await startTime(process.pid)) ?? "0"}`;
}

async function isAlive(content: string): Promise<boolean> {
  const [pid, started] = content.trim().split(" ");
  const now = await startTime(Number(pid));
  return now !== undefined && now === started;
}

async function startTime(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // The command name (field 2) may hold spaces and parentheses: count from its end.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

import { readFile } from "node:fs/promises";
import { delay } from "./clock.ts";
import { isRunning, type Daemon } from "./daemon.ts";

/** __SO_ACCEPTCON of linux/net.h: the socket listens. */
const listens = 0x10000;
const pollMs = 25;

/**
 * Waits until a process listens on a unix socket whose path ends so. A socket's file is there from bind(2) on, and before
 * listen(2) a connection is refused; so the kernel is asked (proc(5), /proc/pid/net/unix), which disturbs nobody. The
 * process' own list is read, because it may be in another network namespace.
 *
 * @returns false when the process ends, or does not listen within the time
 */
export async function waitForListener(
  daemon: Daemon,
  pathEnd: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  for (let waitedMs = 0; waitedMs < timeoutMs && (await isRunning(daemon)); waitedMs += pollMs) {
    const table = await readFile(`/proc/${daemon.pid}/net/unix`, "utf8").catch(() => "");
    if (table.split("\n").some((line) => line.endsWith(pathEnd) && isListener(line))) return true;
    await delay(pollMs, signal);
  }
  return false;
}

/** Columns: Num RefCount Protocol Flags Type St Inode Path. */
function isListener(line: string): boolean {
  return (Number.parseInt(line.split(/\s+/)[3] ?? "", 16) & listens) !== 0;
}

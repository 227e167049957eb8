import { spawn } from "node:child_process";
import { mkdir, open, readFile } from "node:fs/promises";
import { connect } from "node:net";
import { dirname } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { delay, nowMs } from "./clock.ts";
import { cleanEnvironment, formatCommand } from "./run.ts";

/**
 * A process that outlives kubedos. A pid alone may belong to somebody else by now: the process is known by its pid
 * together with its start time (clock ticks since boot; proc(5), /proc/pid/stat field 22).
 */
export interface Daemon {
  pid: number;
  startTime: string;
}

/** Environment variable that marks a process as made by kubedos, and for what. */
export const markVariable = "KUBEDOS_MARK";

const killPollMs = 50;
const busyPollMs = 20;
const sendTimeoutMs = 5_000;

/**
 * Starts a process in a session of its own, with its output appended to a log file. With a `mark` it can be found again
 * even if kubedos is killed before it has written down the pid (see processes.ts).
 */
export async function startDaemon(
  command: string,
  args: readonly string[],
  options: { log: string; cwd?: string; mark?: string },
): Promise<Daemon> {
  await mkdir(dirname(options.log), { recursive: true });
  const log = await open(options.log, "a", 0o600);
  try {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: cleanEnvironment(options.mark === undefined ? {} : { [markVariable]: options.mark }),
      detached: true,
      stdio: ["ignore", log.fd, log.fd],
    });
    const pid = await new Promise<number>((resolve, reject) => {
      child.once("error", (cause) =>
        reject(
          new KubedosError("failed", `cannot start: ${formatCommand(command, args)}`, {
            cause,
            hint: "run `kubedos doctor` to see which packages are missing",
          }),
        ),
      );
      child.once("spawn", () => resolve(child.pid!));
    });
    child.unref();
    const startTime = await startTimeOf(pid);
    if (startTime === undefined) throw await endedAtOnce(command, args, options.log);
    return { pid, startTime };
  } finally {
    await log.close();
  }
}

/** Whether that very process still runs (a zombie does not). */
export async function isRunning(daemon: Daemon | undefined): Promise<boolean> {
  return daemon !== undefined && (await startTimeOf(daemon.pid)) === daemon.startTime;
}

/** Ends that very process and its session: SIGTERM, then SIGKILL after `graceMs`. Nothing if it has ended. */
export async function endDaemon(
  daemon: Daemon | undefined,
  graceMs: number,
  first: NodeJS.Signals = "SIGTERM",
): Promise<void> {
  if (daemon === undefined || !(await isRunning(daemon))) return;
  signalGroup(daemon.pid, first);
  const deadline = nowMs() + graceMs;
  while (await isRunning(daemon)) {
    if (nowMs() > deadline) signalGroup(daemon.pid, "SIGKILL");
    if (nowMs() > deadline + 10_000) {
      throw new KubedosError("failed", `process ${daemon.pid} does not end, not even by SIGKILL`);
    }
    await delay(killPollMs);
  }
}

/** Last lines of a daemon's log, for its errors. */
export async function logTail(file: string, lines = 15): Promise<string> {
  const text = await readFile(file, "utf8").catch(() => "");
  return text.trimEnd().split("\n").slice(-lines).join("\n");
}

/**
 * Writes one line to a unix socket and returns when the other side has read it. Any number of processes may do so at
 * once, although QEMU talks to one client of a socket at a time: each connects, writes, shuts down its own direction and
 * waits until the other side closes. QEMU closes only after it has read everything; were the connection closed at once,
 * it would drop what it has not read yet, and were it kept, everybody else would wait.
 *
 * @throws KubedosError when nobody listens, or the line is not taken within `timeoutMs`
 */
export async function sendLine(socketPath: string, line: string, timeoutMs = sendTimeoutMs): Promise<void> {
  const deadline = nowMs() + timeoutMs;
  while (!(await offerLine(socketPath, line, deadline))) {
    if (nowMs() >= deadline) throw notTaken(socketPath);
    await delay(busyPollMs);
  }
}

/** False when others wait already: QEMU's queue of clients is short, and connect(2) then answers EAGAIN. */
function offerLine(path: string, line: string, deadline: number): Promise<boolean> {
  const socket = connect(path);
  return new Promise<boolean>((resolve, reject) => {
    socket.setTimeout(Math.max(1, deadline - nowMs()), () => reject(notTaken(path)));
    socket.once("connect", () => socket.end(`${line}\n`));
    socket.once("error", (cause: NodeJS.ErrnoException) => {
      if (cause.code === "EAGAIN") resolve(false);
      else reject(new KubedosError("failed", `nobody listens on ${path}`, { cause, hint: "is the machine running?" }));
    });
    socket.once("close", () => resolve(true));
    socket.resume();
  }).finally(() => socket.destroy());
}

function notTaken(path: string): KubedosError {
  return new KubedosError("failed", `the node does not take requests: ${path}`, {
    hint: "it may still be booting; `kubedos console NODE --log` shows how far it is",
  });
}

/** Start time of a living process (clock ticks since boot); undefined when it has ended or is a zombie. */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  if (stat === undefined) return undefined;
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
}

/** Signals the process group, or the process alone where it leads none. */
function signalGroup(pid: number, signal: NodeJS.Signals): void {
  for (const target of [-pid, pid]) {
    try {
      process.kill(target, signal);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") return; // not ours to end: the caller sees it live on
    }
  }
}

async function endedAtOnce(command: string, args: readonly string[], log: string): Promise<KubedosError> {
  return new KubedosError("failed", `${formatCommand(command, args)}\n  ended at once\n${await logTail(log)}`);
}

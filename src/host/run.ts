import { spawn } from "node:child_process";
import { KubedosError } from "../../shared/error.ts";

/** How to run a host command. Times in milliseconds. */
export interface RunOptions {
  cwd?: string;
  /** The whole environment of the command; by default a small fixed one (see `cleanEnvironment`). */
  env?: Record<string, string>;
  /** Written to the command's standard input, which is then closed. */
  input?: string | Uint8Array;
  timeoutMs?: number;
  signal?: AbortSignal;
  /** Exit statuses that are not an error. Default: 0 only. */
  okStatuses?: readonly number[];
  /** Called with each whole line of standard error while the command runs. */
  onStderrLine?: (line: string) => void;
  /** Called with each whole line of standard output while the command runs. */
  onStdoutLine?: (line: string) => void;
  /** Give the terminal to the command; nothing is captured. */
  inherit?: boolean;
  /** What to do when the command is missing or fails. */
  hint?: string;
}

export interface RunResult {
  status: number;
  stdout: string;
  stderr: string;
  /** Standard output as it came, for commands that do not print text. */
  readonly stdoutBytes: Buffer;
}

const maxCapturedBytes = 64 * 1024 * 1024;
const killGraceMs = 5_000;

/** Process groups of the commands that run now. */
const runningGroups = new Set<number>();

/** Ends every running command at once; for the second Ctrl-C only. */
export function killRunning(): void {
  for (const group of runningGroups) killGroup(group, "SIGKILL");
}

/** Environment for host tools: no locale, time zone or user setting reaches them. */
export function cleanEnvironment(extra: Record<string, string> = {}): Record<string, string> {
  return {
    PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    LC_ALL: "C.UTF-8",
    TZ: "UTC",
    HOME: process.env["HOME"] ?? "/root",
    ...extra,
  };
}

/**
 * Runs one command without a shell and waits for it. The command gets its own process group, which is ended on
 * abort or at the time limit (SIGTERM, then SIGKILL).
 *
 * @throws KubedosError with the command and the end of its stderr when it is missing, fails, is aborted or too slow
 */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { signal, timeoutMs, okStatuses = [0] } = options;
  if (signal?.aborted) throw interrupted(command, args);
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? cleanEnvironment(),
      detached: !options.inherit,
      stdio: options.inherit ? "inherit" : ["pipe", "pipe", "pipe"],
    });
    if (child.pid !== undefined && !options.inherit) runningGroups.add(child.pid);
    const stdout = collect(options.onStdoutLine);
    const stderr = collect(options.onStderrLine);
    let ended: "timeout" | "abort" | undefined;
    let killTimer: NodeJS.Timeout | undefined;

    const end = (why: "timeout" | "abort") => {
      if (ended !== undefined || child.pid === undefined) return;
      ended = why;
      killGroup(child.pid, "SIGTERM");
      killTimer = setTimeout(() => killGroup(child.pid, "SIGKILL"), killGraceMs);
    };
    const onAbort = () => end("abort");
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => end("timeout"), timeoutMs);
    signal?.addEventListener("abort", onAbort, { once: true });
    const cleanUp = () => {
      if (child.pid !== undefined) runningGroups.delete(child.pid);
      clearTimeout(timer);
      clearTimeout(killTimer);
      signal?.removeEventListener("abort", onAbort);
    };

    child.stdout?.on("data", stdout.add);
    child.stderr?.on("data", stderr.add);
    child.stdin?.on("error", () => undefined); // the command may close its input early
    child.stdin?.end(options.input ?? "");
    child.on("error", (cause: NodeJS.ErrnoException) => {
      cleanUp();
      reject(notStarted(command, args, options, cause));
    });
    child.on("close", (status, signalName) => {
      cleanUp();
      const result = {
        status: status ?? -1,
        stdout: stdout.text(),
        stderr: stderr.text(),
        get stdoutBytes() {
          return stdout.bytes();
        },
      };
      if (ended === "abort") return reject(interrupted(command, args));
      if (ended === "timeout") {
        return reject(commandError(command, args, result, `did not end within ${timeoutMs! / 1000} s`, options.hint));
      }
      if (okStatuses.includes(result.status)) return resolve(result);
      const how = signalName === null ? `exited with status ${result.status}` : `was ended by ${signalName}`;
      reject(commandError(command, args, result, how, options.hint));
    });
  });
}

/** A command as it can be pasted into a POSIX shell. */
export function formatCommand(command: string, args: readonly string[]): string {
  return [command, ...args].map(quoteForShell).join(" ");
}

/** One word, quoted for a POSIX shell where it needs it. */
export function quoteForShell(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Collects output up to a limit and hands out whole lines as they come. */
function collect(onLine: ((line: string) => void) | undefined) {
  const chunks: Buffer[] = [];
  let size = 0;
  let rest = "";
  return {
    add(chunk: Buffer) {
      if (size < maxCapturedBytes) chunks.push(chunk);
      size += chunk.length;
      if (onLine === undefined) return;
      const lines = (rest + chunk.toString("utf8")).split("\n");
      rest = lines.pop() ?? "";
      lines.forEach(onLine);
    },
    text() {
      if (rest !== "" && onLine !== undefined) onLine(rest);
      rest = "";
      return Buffer.concat(chunks).toString("utf8");
    },
    bytes: () => Buffer.concat(chunks),
  };
}

function killGroup(pid: number | undefined, signalName: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signalName);
  } catch {
    // the group has ended by itself
  }
}

function commandError(
  command: string,
  args: readonly string[],
  result: RunResult,
  how: string,
  hint: string | undefined,
): KubedosError {
  const output = (result.stderr.trim() || result.stdout.trim()).split("\n").slice(-15).join("\n");
  const detail = output === "" ? "" : `\n${output.replaceAll(/^/gm, "  | ")}`;
  return new KubedosError("failed", `${formatCommand(command, args)}\n  ${how}${detail}`, { hint });
}

function notStarted(
  command: string,
  args: readonly string[],
  options: RunOptions,
  cause: NodeJS.ErrnoException,
): KubedosError {
  const missing = cause.code === "ENOENT";
  return new KubedosError(
    "failed",
    missing ? `command not found: ${command}` : `${formatCommand(command, args)}: ${cause.message}`,
    { hint: options.hint ?? (missing ? "run `kubedos doctor` to see which packages are missing" : undefined), cause },
  );
}

function interrupted(command: string, args: readonly string[]): KubedosError {
  return new KubedosError("interrupted", `interrupted: ${formatCommand(command, args)}`);
}

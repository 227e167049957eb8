import { readFile } from "node:fs/promises";
import { availableParallelism, hostname } from "node:os";
import { join } from "node:path";
import { projectRoot } from "./project.ts";
import { run, type RunResult } from "./run.ts";
import { requireTools } from "./tools.ts";

/** In what a run of kubedos is to differ from the caller's own circumstances. */
export interface Circumstances {
  cwd: string;
  /** Added to the environment, over what is there. */
  env: Record<string, string>;
  /** Seconds by which the clocks of Node and of the tools in the sandbox are ahead. */
  clockSeconds?: number;
  /** Another umask and host name, one processor, a user namespace. */
  stranger?: { umask: string; hostname: string };
}

/**
 * Runs this very kubedos once more as a process of its own.
 *
 * @param input standard input: the way in for a passphrase (`--passphrase-file -`)
 * @throws KubedosError when a tool is missing; the result's status says how kubedos itself ended
 */
export async function runSelf(
  args: readonly string[],
  { cwd, env, clockSeconds, stranger }: Circumstances,
  options: { input: string; signal: AbortSignal; onStdoutLine(line: string): void },
): Promise<RunResult> {
  const clock = clockSeconds === undefined ? [] : ["--import", clockModule(clockSeconds)];
  const program = join(projectRoot(), "dist/cli.mjs");
  const node = [process.execPath, "--disable-warning=ExperimentalWarning", ...clock, program, ...args];
  const [command, ...rest] = stranger === undefined ? node : await below(stranger, node);
  const inherited = Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const shifted: Record<string, string> = clockSeconds === undefined ? {} : { KUBEDOS_CLOCK: `+${clockSeconds}` };
  return run(command!, rest, {
    ...options,
    cwd,
    env: { ...Object.fromEntries(inherited), ...shifted, ...env },
    okStatuses: Array.from({ length: 256 }, (_, status) => status),
  });
}

async function below(stranger: { umask: string; hostname: string }, node: readonly string[]): Promise<string[]> {
  await requireTools({ unshare: "util-linux", taskset: "util-linux", hostname: "hostname" });
  const mode = process.getuid?.() === 0 ? "root" : "user";
  const script = join(projectRoot(), "src/host/circumstances.sh");
  return ["sh", script, mode, stranger.umask, stranger.hostname, String(await lastProcessor()), ...node];
}

/** The last processor that this process may run on. */
async function lastProcessor(): Promise<number> {
  const status = await readFile("/proc/self/status", "utf8");
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "0";
  return Number(/(\d+)$/.exec(list)?.[1] ?? 0);
}

/** A module that Node loads before all others: what asks for the time gets it from later on. */
function clockModule(seconds: number): string {
  const text = `const Own = Date, ahead = ${seconds * 1000};
globalThis.Date = class Date extends Own {
  constructor(...args) { if (args.length === 0) super(Own.now() + ahead); else super(...args); }
  static now() { return Own.now() + ahead; }
};`;
  return `data:text/javascript,${encodeURIComponent(text)}`;
}

/** The caller's own, for a table of what was varied. */
export function ownCircumstances() {
  const value = (name: string) => process.env[name] ?? "";
  return {
    user: process.getuid?.() ?? 0,
    hostname: hostname(),
    home: value("HOME"),
    timeZone: value("TZ"),
    locale: value("LC_ALL") || value("LANG"),
    processors: availableParallelism(),
    umask: process.umask().toString(8).padStart(3, "0"),
  };
}

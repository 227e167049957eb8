import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { projectRoot } from "./project.ts";
import { cleanEnvironment, run, type RunResult } from "./run.ts";

/** One command in the foundry root; see sandbox.sh for what it sees. */
export interface SandboxJob {
  /** Directory of the foundry root. */
  root: string;
  /** Command and arguments, as paths inside the sandbox. */
  command: readonly [string, ...string[]];
  /** Input name → file or directory of the host; seen read-only as `/in/<name>`. */
  inputs: Record<string, string>;
  /** Directory of the host that is seen as `/out`. */
  out: string;
  /** Fixed clock, seconds since 1970. */
  epoch: number;
  /** Standard input: the only way in for secrets. */
  stdin?: string | Uint8Array;
  timeoutMs?: number;
  signal?: AbortSignal;
  onStdoutLine?: (line: string) => void;
}

/** Scripts that run in the sandbox. */
export const scriptsDirectory = "src/assemble/scripts";

/** Runs one job without network, clock-free and with a fixed environment; needs root or user namespaces. */
export async function runInSandbox(job: SandboxJob): Promise<RunResult> {
  await mkdir(job.out, { recursive: true });
  const inputs = Object.entries(job.inputs).flat();
  return run(
    "unshare",
    [
      ...(process.getuid?.() === 0 ? [] : ["--user", "--map-root-user", "--map-auto"]),
      "--mount",
      "--net",
      "--pid",
      "--ipc",
      "--uts",
      "--fork",
      "--kill-child",
      "sh",
      join(projectRoot(), "src/host/sandbox.sh"),
      job.root,
      job.out,
      join(projectRoot(), scriptsDirectory),
      ...inputs,
      "--",
      ...job.command,
    ],
    {
      env: cleanEnvironment({ SOURCE_DATE_EPOCH: String(job.epoch) }),
      input: job.stdin,
      timeoutMs: job.timeoutMs ?? 15 * 60_000,
      signal: job.signal,
      onStdoutLine: job.onStdoutLine,
      hint:
        process.getuid?.() === 0
          ? undefined
          : "without root this needs user namespaces, the package uidmap and a line for you in /etc/subuid and /etc/subgid; `kubedos doctor` checks them",
    },
  );
}

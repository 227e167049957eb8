import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { projectRoot } from "./project.ts";
import { KubedosError } from "../../shared/error.ts";
import { environmentValue } from "./environment.ts";
import { uniqueBeside } from "./unique.ts";
import { cleanEnvironment, run, type RunResult } from "./run.ts";
import { requireTools } from "./tools.ts";

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
  /** The host's network. Only for what resolves: no stage of a build has it. */
  network?: boolean;
  /** Standard input: the only way in for secrets. */
  stdin?: string | Uint8Array;
  timeoutMs?: number;
  signal?: AbortSignal;
  onStdoutLine?: (line: string) => void;
}

/** Scripts that run in the sandbox. */
export const scriptsDirectory = "src/assemble/scripts";

/**
 * Runs one job without network, clock-free and with a fixed environment; needs root or user namespaces. It ends with
 * this process, also when that is killed. `KUBEDOS_WORK` names a directory to work in instead of memory,
 * `KUBEDOS_CLOCK` shifts the clock that tools see (see circumstances.ts): neither may change any output.
 */
export async function runInSandbox(job: SandboxJob): Promise<RunResult> {
  await requireTools({ setpriv: "util-linux", unshare: "util-linux" });
  await mkdir(job.out, { recursive: true });
  const scratch = environmentValue("KUBEDOS_WORK");
  const work = scratch === undefined ? undefined : uniqueBeside(join(scratch, "work"));
  try {
    return await unshared(job, work);
  } catch (error) {
    throw explainRefusal(error);
  } finally {
    if (work !== undefined) await rm(work, { recursive: true, force: true });
  }
}

function unshared(job: SandboxJob, work: string | undefined): Promise<RunResult> {
  const inputs = Object.entries(job.inputs).flat();
  return run(
    "setpriv",
    [
      "--pdeathsig",
      "KILL",
      "unshare",
      ...(process.getuid?.() === 0 ? [] : ["--user", "--map-root-user", "--map-auto"]),
      "--mount",
      ...(job.network === true ? [] : ["--net"]),
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
      env: cleanEnvironment({
        SOURCE_DATE_EPOCH: String(job.epoch),
        WORK: work ?? "",
        CLOCK: environmentValue("KUBEDOS_CLOCK") ?? "",
      }),
      input: job.stdin,
      timeoutMs: job.timeoutMs ?? 15 * 60_000,
      signal: job.signal,
      onStdoutLine: job.onStdoutLine,
    },
  );
}

/** The kernel's own words for namespaces that it refuses are "Operation not permitted": say what to do instead. */
function explainRefusal(error: unknown): unknown {
  if (!(error instanceof KubedosError) || !/^ *\| (unshare|newuidmap|newgidmap|mount): /m.test(error.message))
    return error;
  const hint =
    process.getuid?.() === 0
      ? "this root may not make namespaces: a container needs CAP_SYS_ADMIN (--privileged), or build on the host itself"
      : "without root this needs user namespaces, the package uidmap and a line for you in /etc/subuid and /etc/subgid; `kubedos doctor` checks them";
  return new KubedosError(error.code, error.message, { hint, cause: error });
}

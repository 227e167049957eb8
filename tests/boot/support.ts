import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { delay, nowMs } from "../../src/host/clock.ts";
import { endDaemon, isRunning, startTimeOf, type Daemon } from "../../src/host/daemon.ts";
import type { RunContext } from "../../src/host/context.ts";
import type { SpecPaths } from "../../src/host/paths.ts";
import { run, type RunResult } from "../../src/host/run.ts";
import { build, type BuildResult } from "../../src/lifecycle/build.ts";
import { openProject, type Project } from "../../src/lifecycle/project.ts";
import type { TargetName } from "../../src/spec/types.ts";
import { readMachine } from "../../src/substrates/machines.ts";
import { substrates } from "../../src/substrates/registry.ts";
import { kubedos } from "../cli/kubedos.ts";

/** A directory of its own for one test file: spec, vault, lock, machines, sockets, identity. */
export interface Scratch {
  directory: string;
  /** Environment that keeps everything inside, the cache of build results excepted. */
  env: Record<string, string>;
  context: RunContext;
  /** Ends whatever still runs in it, then removes it. */
  remove(): Promise<void>;
}

export async function makeScratch(): Promise<Scratch> {
  const directory = await mkdtemp(join(tmpdir(), "kd-boot-"));
  const env = { KUBEDOS_RUNTIME: join(directory, "run"), KUBEDOS_CONFIG: join(directory, "config") };
  // Modules that run inside the test read the same two variables.
  Object.assign(process.env, env);
  const interrupt = new AbortController();
  return {
    directory,
    env,
    context: { emit: () => undefined, signal: interrupt.signal, offline: false },
    async remove() {
      interrupt.abort();
      for (const daemon of await processesOf(directory)) await endDaemon(daemon, 1_000);
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Two nodes; the raw image only, unless targets are given. */
export function labSpec(name: string, targets: readonly TargetName[] = ["raw"]): string {
  return [
    "apiVersion: kubedos/v1",
    `metadata: { name: ${name} }`,
    "underlay: { cidr: 10.100.0.0/24 }",
    `targets: [${targets.join(", ")}]`,
    // There is no TPM in Firecracker's machines.
    ...(targets.includes("firecracker") ? ["platform: { state: plain }"] : []),
    "nodes:",
    "  - { name: hub, roles: [hub] }",
    "  - { name: worker-1, roles: [worker] }",
    "",
  ].join("\n");
}

export interface BuiltLab {
  project: Project;
  built: BuildResult;
  /** Store paths of the boot image before and after signing. */
  uki: { unsigned: string; signed: string };
}

/** A foundry of its own (fresh vault), and what it manufactures from a spec. */
export async function buildLab(
  scratch: Scratch,
  foundry: string,
  lockOf?: BuiltLab,
  spec = labSpec("lab"),
): Promise<BuiltLab> {
  await kubedos(["--version"]); // bundles the agent where that is due
  const directory = join(scratch.directory, foundry);
  await mkdir(directory);
  const specFile = join(directory, "lab.yaml");
  await writeFile(specFile, spec);
  if (lockOf !== undefined) await writeFile(join(directory, "lab.lock"), await readFile(lockOf.project.paths.lock));
  const project = await openProject(specFile, { vault: {}, create: true }, scratch.context);
  const built = await build(project.build, project.paths, project.store, scratch.context);
  const manifest = JSON.parse(await readFile(built.manifest, "utf8")) as {
    boot: Record<"unsigned" | "signed", { sha256: string }>;
  };
  const { unsigned, signed } = manifest.boot;
  return {
    project,
    built,
    uki: { unsigned: project.store.path(unsigned.sha256), signed: project.store.path(signed.sha256) },
  };
}

/** Living processes that name a directory on their command line or in their environment. */
export async function processesOf(directory: string): Promise<Daemon[]> {
  return findProcesses(async (pid) => {
    const read = (file: string) => readFile(`/proc/${pid}/${file}`, "utf8").catch(() => "");
    return (await read("cmdline")).includes(directory) || (await read("environ")).includes(directory);
  });
}

/** Living processes, without this one, that fit. */
export async function findProcesses(fits: (pid: number) => Promise<boolean>): Promise<Daemon[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const found: Daemon[] = [];
  for (const pid of pids) {
    if (pid === process.pid || !(await fits(pid))) continue;
    const startTime = await startTimeOf(pid);
    if (startTime !== undefined) found.push({ pid, startTime });
  }
  return found;
}

/**
 * Polls until a value is there, and pauses for longer than a poll took: one that starts a command would else take a whole
 * core from what it waits for. @throws Error with `what` and the result of `describe` when the time is up */
export async function until<T>(
  what: string,
  limitSeconds: number,
  poll: () => Promise<T | undefined>,
  describe: () => Promise<string> = () => Promise.resolve(""),
): Promise<T> {
  const deadline = nowMs() + limitSeconds * 1000;
  for (;;) {
    const started = nowMs();
    const value = await poll();
    if (value !== undefined) return value;
    if (nowMs() > deadline) throw new Error(`${what}: not within ${limitSeconds} s\n${await describe()}`);
    await delay(Math.min(2_000, Math.max(200, 1.5 * (nowMs() - started))));
  }
}

/** Runs a command as root on a node of containers, without its network. */
export async function insideContainer(
  paths: SpecPaths,
  node: string,
  command: readonly string[],
  okStatuses: readonly number[] = [0],
): Promise<RunResult> {
  const attachment = await substrates.nspawn.consoleAttachment(paths, node);
  if (!("command" in attachment)) throw new Error("a command was expected");
  const enter = attachment.args.slice(0, attachment.args.indexOf("--") + 1);
  return run(attachment.command, [...enter, ...command], { timeoutMs: 60_000, okStatuses });
}

/** Ends a container as if its power went, and waits for its end. @throws KubedosError when it does not run */
export async function killContainer(paths: SpecPaths, node: string): Promise<true> {
  const machine = (await readMachine(paths, node))?.process;
  const attachment = await substrates.nspawn.consoleAttachment(paths, node);
  const leader = "command" in attachment ? attachment.args[0]!.replace("--target=", "") : "";
  await run("kill", ["-KILL", leader]);
  return until(`the end of ${node}`, 20, async () => {
    return machine === undefined || !(await isRunning(machine)) ? true : undefined;
  });
}

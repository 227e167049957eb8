import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { automationPaths, type LostNode } from "../../shared/convergence.ts";
import type { ConvergeFailure } from "../../shared/events.ts";
import { messageOf } from "../agent/text.ts";
import { followLines } from "../agent/follow.ts";
import { taskTally, type TaskLine, type TaskTally } from "./tasks.ts";

/** One call of ansible-playbook. */
export interface PlaybookJob {
  /** Absolute path. */
  playbook: string;
  nodes: readonly string[];
  tags: readonly string[];
  check: boolean;
  timeoutSeconds: number;
  /** Log files are called `<directory>/<name>.log` and `.jsonl`. */
  directory: string;
  name: string;
  signal: AbortSignal;
  onLine(line: TaskLine): void;
}

export interface PlaybookResult {
  nodes: TaskTally["nodes"];
  /** When the first task of each node began, seconds since 1970. */
  starts: TaskTally["starts"];
  /** Absent: it ended well on every node that could be reached. */
  failure?: ConvergeFailure;
  /** Nodes that went away meanwhile. */
  lost: LostNode[];
}

const killGraceMs = 5_000;
const pollMs = 200;
const lastLogLines = 12;

/** ansible-playbook's exit status when some nodes could not be reached and nothing else was wrong. */
const unreachableOnly = 4;

/** Runs one playbook to its end or its time limit. A node that cannot be reached does not fail it. */
export async function runPlaybook(job: PlaybookJob): Promise<PlaybookResult> {
  const base = join(job.directory, job.name);
  writeFileSync(`${base}.limit`, job.nodes.map((node) => `${node}\n`).join(""));
  writeFileSync(`${base}.jsonl`, ""); // a run that goes on does not count twice
  const log = openSync(`${base}.log`, "a");
  const tally = taskTally();
  const follower = followLines(`${base}.jsonl`, (text) => {
    const line = tally.take(text);
    if (line !== undefined) job.onLine(line);
  });
  const timer = setInterval(() => follower.poll(), pollMs);
  try {
    const end = await ansible(job, base, log);
    follower.poll();
    const failure = failureOf(job, end, tally, `${base}.log`);
    if (end.why === "timeout") writeSync(log, `kubedos: ended after ${job.timeoutSeconds} s\n`);
    return { nodes: tally.nodes, starts: tally.starts, failure, lost: tally.unreachable() };
  } finally {
    clearInterval(timer);
    closeSync(log);
  }
}

interface Ending {
  status: number;
  why: "exit" | "timeout" | "abort" | "unstartable";
  message?: string;
}

function ansible(job: PlaybookJob, base: string, log: number): Promise<Ending> {
  const args = [
    ...["--inventory", automationPaths.inventory, "--limit", `@${base}.limit`],
    ...(job.tags.length > 0 ? ["--tags", job.tags.join(",")] : []),
    ...(job.check ? ["--check", "--diff"] : []),
    job.playbook,
  ];
  return new Promise((resolve) => {
    const child = spawn("ansible-playbook", args, {
      cwd: dirname(job.playbook),
      env: ansibleEnvironment(`${base}.jsonl`),
      stdio: ["ignore", log, log],
      detached: true, // a group of its own: workers and ssh end with it
    });
    let why: Ending["why"] = "exit";
    let killTimer: NodeJS.Timeout | undefined;
    function end(reason: "timeout" | "abort"): void {
      if (why !== "exit") return;
      why = reason;
      killGroup(child.pid, "SIGTERM");
      killTimer = setTimeout(() => killGroup(child.pid, "SIGKILL"), killGraceMs);
    }
    const onAbort = () => end("abort");
    const timer = setTimeout(() => end("timeout"), job.timeoutSeconds * 1000);
    job.signal.addEventListener("abort", onAbort, { once: true });
    if (job.signal.aborted) onAbort();
    function cleanUp(): void {
      clearTimeout(timer);
      clearTimeout(killTimer);
      job.signal.removeEventListener("abort", onAbort);
      killGroup(child.pid, "SIGKILL"); // what its leader has left behind
    }
    child.on("error", (error) => {
      cleanUp();
      resolve({ status: -1, why: "unstartable", message: messageOf(error) });
    });
    child.on("close", (status) => {
      cleanUp();
      resolve({ status: status ?? -1, why });
    });
  });
}

/** Environment of Ansible as the engine runs it; by hand, /etc/ansible/ansible.cfg says the same. */
export function ansibleEnvironment(events: string): Record<string, string> {
  return {
    PATH: "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
    HOME: automationPaths.home,
    LANG: "C.UTF-8",
    TZ: "UTC",
    ANSIBLE_CONFIG: join(automationPaths.platform, "ansible.cfg"),
    ANSIBLE_CALLBACK_PLUGINS: join(automationPaths.platform, "callback_plugins"),
    ANSIBLE_CALLBACKS_ENABLED: "kubedos",
    ANSIBLE_NOCOLOR: "1",
    KUBEDOS_ANSIBLE_EVENTS: events,
  };
}

function failureOf(job: PlaybookJob, end: Ending, tally: TaskTally, logFile: string): ConvergeFailure | undefined {
  if (end.why === "abort") return { message: "interrupted" };
  if (end.why === "unstartable") return { message: `ansible-playbook: ${end.message}` };
  if (end.why === "timeout") {
    const running = tally.running();
    const first = running[0];
    const more = running.length > 1 ? ` (and ${running.length - 1} more nodes)` : "";
    const message = `did not end within ${job.timeoutSeconds} s${more}`;
    return first === undefined ? { message } : { node: first.node, task: first.task, message };
  }
  const failure = tally.failure();
  if (end.status === 0 || (end.status === unreachableOnly && failure === undefined)) return undefined;
  return failure ?? { message: `ansible-playbook exited with status ${end.status}\n${tail(logFile)}` };
}

function tail(file: string): string {
  return readFileSync(file, "utf8").trimEnd().split("\n").slice(-lastLogLines).join("\n");
}

function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // it has ended by itself
  }
}

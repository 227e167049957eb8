import type { ConvergeFailure, ConvergeNodeResult } from "../../shared/events.ts";

/** One line of node/ansible/callback_plugins/kubedos.py. Times in seconds since 1970. */
export type TaskLine =
  | { event: "start"; at: number; host: string; task: string }
  | {
      event: "result";
      at: number;
      host: string;
      task: string;
      /** `file:line` of the task. */
      place: string;
      outcome: "ok" | "changed" | "failed" | "unreachable" | "skipped";
      ignored: boolean;
      message: string;
    }
  | {
      event: "stats";
      at: number;
      host: string;
      ok: number;
      changed: number;
      failures: number;
      unreachable: number;
      skipped: number;
    };

/** What a playbook did, gathered from its lines. */
export interface TaskTally {
  nodes: Record<string, ConvergeNodeResult>;
  /** When the first task of each node began, seconds since 1970. */
  starts: ReadonlyMap<string, number>;
  /** Takes one more line; hands it back parsed, or nothing where it is none. */
  take(line: string): TaskLine | undefined;
  /** The task that stopped the playbook: the last failed one of a node that Ansible counts as failed. */
  failure(): ConvergeFailure | undefined;
  /** Nodes that could not be reached any more, with Ansible's words. */
  unreachable(): { node: string; reason: string }[];
  /** Tasks that have begun and not ended. */
  running(): { node: string; task: string }[];
}

export function taskTally(): TaskTally {
  const nodes: Record<string, ConvergeNodeResult> = {};
  const firstStart = new Map<string, number>();
  const open = new Map<string, string>();
  const failed = new Map<string, ConvergeFailure>();
  const lost = new Map<string, string>();
  const counted = new Set<string>();

  function nodeOf(host: string): ConvergeNodeResult {
    return (nodes[host] ??= { ok: 0, changed: 0, failed: 0, unreachable: 0, skipped: 0, seconds: 0 });
  }

  function takeResult(line: TaskLine & { event: "result" }): void {
    const node = nodeOf(line.host);
    open.delete(line.host);
    node.seconds = Math.max(node.seconds, line.at - (firstStart.get(line.host) ?? line.at));
    if (line.outcome === "failed" && line.ignored) node.ok += 1;
    else node[line.outcome] += 1;
    if (line.outcome === "changed") node.ok += 1; // as Ansible counts
    if (line.outcome === "unreachable") lost.set(line.host, line.message);
    if (line.outcome === "failed" && !line.ignored) {
      failed.set(line.host, { node: line.host, task: line.task, message: line.message });
    }
  }

  return {
    nodes,
    starts: firstStart,
    take(text) {
      let line: TaskLine;
      try {
        line = JSON.parse(text) as TaskLine;
      } catch {
        return undefined;
      }
      if (line.event === "start") {
        nodeOf(line.host);
        if (!firstStart.has(line.host)) firstStart.set(line.host, line.at);
        open.set(line.host, line.task);
      } else if (line.event === "result") takeResult(line);
      else if (line.event === "stats") {
        const { ok, changed, failures, unreachable, skipped } = line;
        Object.assign(nodeOf(line.host), { ok, changed, failed: failures, unreachable, skipped });
        counted.add(line.host);
        open.clear();
      }
      return line;
    },
    failure() {
      // A failure that was rescued is none: the statistics know.
      const hosts = [...failed.keys()].filter((host) => !counted.has(host) || nodes[host]!.failed > 0);
      const host = hosts[0];
      return host === undefined ? undefined : failed.get(host);
    },
    unreachable: () => [...lost].map(([node, reason]) => ({ node, reason })),
    running: () => [...open].map(([node, task]) => ({ node, task })),
  };
}

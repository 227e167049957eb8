import { stageNames } from "../../shared/convergence.ts";
import type { ConvergeFailure, ConvergeNodeResult, ConvergeStageStatus, EventBody } from "../../shared/events.ts";

/** How the last convergence of a cluster stands, as its hub tells it. Times in seconds. */
export interface ConvergenceProgress {
  run: string;
  check: boolean;
  outcome: "running" | "passed" | "failed" | "interrupted";
  seconds?: number;
  changed: number;
  lost: { node: string; reason: string }[];
  /** In the order of the graph. */
  stages: {
    stage: string;
    status: ConvergeStageStatus;
    /** When it began, since the begin of the run. */
    startSeconds?: number;
    seconds?: number;
    changed: number;
    failure?: ConvergeFailure;
    nodes: Record<string, ConvergeNodeResult>;
  }[];
}

/** Takes one more event of a hub; a run that begins, or goes on after the hub has died, replaces the one before. */
export function foldProgress(
  before: ConvergenceProgress | undefined,
  event: EventBody,
): ConvergenceProgress | undefined {
  switch (event.type) {
    case "converge.started": {
      const stages = stageNames
        .filter((name) => event.stages.includes(name))
        .map((stage) => ({ stage, status: "waiting" as const, changed: 0, nodes: {} }));
      return { run: event.run, check: event.check, outcome: "running", changed: 0, lost: [], stages };
    }
    case "converge.stage":
    case "converge.node": {
      const record = before?.stages.find(({ stage }) => stage === event.stage);
      if (before === undefined || record === undefined || before.run !== event.run) return before;
      if (event.type === "converge.node") record.nodes[event.node] = event.result;
      else {
        const { status, startSeconds, seconds, changed = 0, failure } = event;
        Object.assign(record, { status, startSeconds, seconds, changed, failure });
      }
      return before;
    }
    case "converge.done":
      if (before === undefined || before.run !== event.run) return before;
      return { ...before, outcome: event.outcome, seconds: event.seconds, changed: event.changed, lost: event.lost };
    default:
      return before;
  }
}

/** What went wrong in a convergence, one line each; empty when it passed. */
export function convergenceProblems(progress: ConvergenceProgress): string[] {
  const stages = progress.stages.flatMap(({ stage, status, failure }) => {
    if (status === "blocked") return [`${stage} did not run: a stage that it needs has failed`];
    if (status !== "failed" && status !== "interrupted") return [];
    const { node, task, message } = failure ?? { message: status };
    return [`${[stage, node, task].filter((part) => part !== undefined).join(", ")}: ${message}`];
  });
  return [...stages, ...progress.lost.map(({ node, reason }) => `${node} was not converged: ${reason}`)];
}

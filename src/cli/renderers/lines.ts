import type { EventBody } from "../../../shared/events.ts";
import { formatBytes, formatSeconds, type Paint, printable } from "../format.ts";
import type { Verbosity } from "./types.ts";

/**
 * The line that tells a person of one event, or nothing where the event is not for this verbosity. Progress has no
 * line of its own: the renderers show it in their way.
 */
export function eventLine(event: EventBody, verbosity: Verbosity, paint: Paint): string | undefined {
  if (verbosity === "quiet") return quietLine(event, paint);
  const verbose = verbosity === "verbose";
  switch (event.type) {
    case "run.started":
    case "run.done":
    case "run.failed":
    case "stage.progress":
    case "node.facts":
    case "node.reply":
      return undefined;
    case "stage.started":
      return verbose ? `${paint.dim("start ")} ${event.stage} ${paint.dim(event.id.slice(0, 12))}` : undefined;
    case "stage.cached":
      return verbose ? `${paint.dim("cached")} ${event.stage} ${paint.dim(event.id.slice(0, 12))}` : undefined;
    case "stage.done": {
      const size = event.sizeBytes === undefined ? "" : `  ${formatBytes(event.sizeBytes)}`;
      return `${paint.green("done  ")} ${event.stage}  ${formatSeconds(event.seconds)}${size}`;
    }
    case "stage.failed":
      return `${paint.red("failed")} ${event.stage}: ${printable(event.message)}`;
    case "artifact":
      return `${paint.green("made  ")} ${event.target}  ${event.path}  ${formatBytes(event.sizeBytes)}  sha256:${event.sha256}`;
    case "node.phase": {
      const label = event.phase === "failed" ? paint.red("node  ") : paint.cyan("node  ");
      const uptime = event.uptimeSeconds === undefined ? "" : `  ${formatSeconds(event.uptimeSeconds)} up`;
      const note = event.note === undefined ? "" : `  ${printable(event.note)}`;
      return `${label} ${printable(event.node)}  ${event.phase}${uptime}${note}`;
    }
    case "converge.started":
      return `${paint.cyan("conv  ")} ${event.check ? "check" : "run"} ${event.run} of ${event.nodes.length} nodes`;
    case "converge.stage":
      return convergeStage(event, verbose, paint);
    case "converge.node": {
      const { ok, changed, failed, unreachable, seconds } = event.result;
      const counts = `ok ${ok}, changed ${changed}, failed ${failed}, unreachable ${unreachable}`;
      return verbose
        ? `${paint.cyan("conv  ")} ${event.stage} on ${event.node}: ${counts}  ${formatSeconds(seconds)}`
        : undefined;
    }
    case "converge.task": {
      const label = event.outcome === "failed" ? paint.red("task  ") : paint.yellow("task  ");
      const shown = verbose || event.outcome === "failed";
      return shown ? `${label} ${printable(event.node)}  ${event.outcome}: ${printable(event.task)}` : undefined;
    }
    case "converge.done":
      return `${paint.cyan("conv  ")} ${event.outcome}, ${event.changed} changed  ${formatSeconds(event.seconds)}`;
    case "enroll.refused":
      return `${paint.yellow("enroll")} ${printable(event.node)} refused ${printable(event.name)}: ${event.reason}  sha256 ${printable(event.fingerprint)}`;
    case "gate.passed":
      return `${paint.green("gate  ")} ${event.gate} passed: ${printable(event.summary)}`;
    case "gate.failed":
      return `${paint.red("gate  ")} ${event.gate} FAILED: ${printable(event.summary)}${hintOf(event.hint, paint)}`;
    case "log":
      return logLine(event, verbose, paint);
  }
}

function convergeStage(
  event: EventBody & { type: "converge.stage" },
  verbose: boolean,
  paint: Paint,
): string | undefined {
  const seconds = event.seconds === undefined ? "" : `  ${formatSeconds(event.seconds)}`;
  switch (event.status) {
    case "done":
      return `${paint.green("conv  ")} ${event.stage}  ${event.changed ?? 0} changed${seconds}`;
    case "failed": {
      const { node, task, message } = event.failure ?? { message: "no reason given" };
      const where = [node, task].filter((part) => part !== undefined).join(", ");
      return `${paint.red("conv  ")} ${event.stage} FAILED: ${printable(where === "" ? message : `${where}: ${message}`)}`;
    }
    case "blocked":
    case "interrupted":
      return `${paint.yellow("conv  ")} ${event.stage} ${event.status}`;
    case "waiting":
    case "running":
    case "skipped":
    case "kept":
      return verbose ? `${paint.dim("conv  ")} ${event.stage} ${event.status}` : undefined;
  }
}

/** Only what went wrong. */
function quietLine(event: EventBody, paint: Paint): string | undefined {
  const wrong =
    event.type === "stage.failed" ||
    event.type === "gate.failed" ||
    (event.type === "converge.stage" && event.status === "failed") ||
    event.type === "enroll.refused" ||
    (event.type === "node.phase" && event.phase === "failed") ||
    (event.type === "log" && (event.level === "error" || event.level === "warn"));
  return wrong ? eventLine(event, "normal", paint) : undefined;
}

function logLine(event: EventBody & { type: "log" }, verbose: boolean, paint: Paint): string | undefined {
  const message = `${printable(event.message)}${hintOf(event.hint, paint)}`;
  switch (event.level) {
    case "debug":
      return verbose ? paint.dim(message) : undefined;
    case "info":
      return message;
    case "warn":
      return `${paint.yellow("warning:")} ${message}`;
    case "error":
      return `${paint.red("error:")} ${message}`;
  }
}

function hintOf(hint: string | undefined, paint: Paint): string {
  return hint === undefined ? "" : `\n  ${paint.cyan("hint:")} ${printable(hint)}`;
}

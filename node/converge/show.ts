import { readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { automationPaths, stageNames, type ConvergenceState } from "../../shared/convergence.ts";
import { KubedosError } from "../../shared/error.ts";
import { readState, runDirectory } from "./state.ts";
import type { TaskLine } from "./tasks.ts";

/** Prints the state as one JSON document; `{}` before the first run. */
export function showState(): number {
  print(`${JSON.stringify(readState(automationPaths.state) ?? {})}\n`);
  return 0;
}

/** Prints what ran in a stage (Ansible's own output), or on a node over all stages. */
export function showLog(name: string): number {
  const state = readState(automationPaths.state);
  if (state === undefined) throw new KubedosError("failed", "nothing has run yet");
  const directory = runDirectory(automationPaths.state, state.run.id);
  const files = readdirSync(directory).toSorted(byStage);
  if (name in state.stages) {
    const logs = files.filter((file) => file.endsWith(".log") && stageOf(file) === name);
    for (const file of logs) print(readFileSync(join(directory, file), "utf8"));
    if (logs.length === 0) print(stageText(state, name));
    return 0;
  }
  for (const file of files.filter((one) => one.endsWith(".jsonl"))) {
    const lines = readFileSync(join(directory, file), "utf8").split("\n");
    for (const line of lines) if (line !== "") print(nodeLine(stageOf(file), JSON.parse(line) as TaskLine, name));
  }
  return 0;
}

function stageText(state: ConvergenceState, name: string): string {
  const { status, failure, nodes } = state.stages[name as keyof ConvergenceState["stages"]];
  const lost = state.run.lost.map(({ node, reason }) => `  ${node}: not there: ${reason}\n`);
  const there = Object.entries(nodes).filter(([, { ok }]) => ok > 0);
  return [
    `${name}: ${status}${failure === undefined ? "" : `: ${failure.message}`}\n`,
    ...there.map(([node, { seconds }]) => `  ${node}: there after ${seconds.toFixed(1)} s\n`),
    ...(name === "fabric" ? lost : []),
  ].join("");
}

/** One line a task: time, stage, outcome, name, place; the message of a failure below it. */
function nodeLine(stage: string, line: TaskLine, node: string): string {
  if (line.event !== "result" || line.host !== node) return "";
  const time = new Date(line.at * 1000).toISOString().slice(11, 19);
  const outcome = line.outcome === "failed" && line.ignored ? "ignored" : line.outcome;
  const message = line.message === "" ? "" : line.message.replaceAll(/^/gm, "    | ") + "\n";
  return `${time}  ${stage}  ${outcome.padEnd(11)} ${line.task}\n${message}`;
}

function stageOf(file: string): string {
  return file.replace(/(-\d+)?\.[a-z]+$/, "");
}

function byStage(a: string, b: string): number {
  const order = (file: string) => stageNames.findIndex((name) => name === stageOf(file));
  return order(a) - order(b) || (a < b ? -1 : 1);
}

function print(text: string): void {
  let rest = Buffer.from(text);
  while (rest.length > 0) rest = rest.subarray(writeSync(1, rest));
}

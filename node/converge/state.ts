import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  stageNames,
  type ConvergenceStageName,
  type ConvergenceState,
  type ConvergeOptions,
  type StageState,
} from "../../shared/convergence.ts";

const runsKept = 5;

/** The state on disk; undefined where there is none that can be read. */
export function readState(directory: string): ConvergenceState | undefined {
  try {
    const state = JSON.parse(readFileSync(join(directory, "state.json"), "utf8")) as ConvergenceState;
    return state.format === 1 ? state : undefined;
  } catch {
    return undefined; // none yet, or half a disk: what was done is done again, which changes nothing
  }
}

/** Writes the state whole or not at all. */
export function writeState(directory: string, state: ConvergenceState): void {
  mkdirSync(directory, { recursive: true });
  const file = join(directory, "state.json");
  writeFileSync(`${file}.new`, `${JSON.stringify(state, undefined, 2)}\n`, { flush: true });
  renameSync(`${file}.new`, file);
}

/** A run that begins. What an earlier one has done of the same layer stays known. */
export function newState(
  layer: string,
  run: { id: string; options: ConvergeOptions; startedAt: string },
  before: ConvergenceState | undefined,
): ConvergenceState {
  const stages = Object.fromEntries(stageNames.map((name) => [name, freshStage()]));
  return {
    format: 1,
    layer,
    run: { ...run, outcome: "running", seconds: 0, changed: 0, lost: [], resumed: 0 },
    stages: stages as Record<ConvergenceStageName, StageState>,
    marks: before?.layer === layer ? before.marks : {},
  };
}

export function freshStage(): StageState {
  return { status: "waiting", changed: 0, nodes: {} };
}

/** Directory of one run's logs. */
export function runDirectory(directory: string, run: string): string {
  return join(directory, "runs", run);
}

/** Makes the directory of a run and removes those of all but the last few; ids sort by time. */
export function prepareRunDirectory(directory: string, run: string): string {
  const own = runDirectory(directory, run);
  mkdirSync(own, { recursive: true });
  const others = readdirSync(join(directory, "runs")).toSorted();
  for (const name of others.slice(0, Math.max(0, others.length - runsKept))) {
    if (name !== run) rmSync(join(directory, "runs", name), { recursive: true, force: true });
  }
  return own;
}

import {
  convergenceStages,
  stageNames,
  stagesOf,
  type ConvergenceStage,
  type ConvergenceStageName,
  type ConvergeOptions,
} from "../../shared/convergence.ts";

/** How a stage ended, as far as those that need it are concerned. */
export type StageEnd = "good" | "bad";

/** Whether a platform and a run have a use for a stage. `fabric` always runs: without it no node is known. */
export function isWanted(stage: ConvergenceStage, features: readonly string[], options: ConvergeOptions): boolean {
  if (stage.name === "fabric") return true;
  if (!stagesOf(features).includes(stage)) return false;
  return options.from === undefined || stageNames.indexOf(stage.name) >= stageNames.indexOf(options.from);
}

/**
 * Runs every stage as soon as all that it needs have ended well, at most `atOnce` at a time, in the graph's order where
 * several could start. A stage that needs one which ended badly is handed to `block` instead. Ends when all have ended.
 */
export async function runGraph(
  run: (stage: ConvergenceStage) => Promise<StageEnd>,
  block: (stage: ConvergenceStage) => void,
  atOnce: number,
  stages: readonly ConvergenceStage[] = convergenceStages,
): Promise<void> {
  const ended = new Map<ConvergenceStageName, StageEnd>();
  const waiting = [...stages];
  const running = new Map<ConvergenceStageName, Promise<void>>();
  for (;;) {
    for (const stage of [...waiting]) {
      const needs = stage.needs.map((need) => ended.get(need));
      if (needs.includes("bad")) {
        waiting.splice(waiting.indexOf(stage), 1);
        ended.set(stage.name, "bad");
        block(stage);
        continue;
      }
      if (running.size >= atOnce || needs.includes(undefined)) continue;
      waiting.splice(waiting.indexOf(stage), 1);
      const work = run(stage).then((end) => {
        ended.set(stage.name, end);
        running.delete(stage.name);
      });
      running.set(stage.name, work);
    }
    if (running.size === 0) return;
    await Promise.race(running.values());
  }
}

import { stageId } from "../assemble/engine.ts";
import { peekAction } from "../store/actions.ts";
import type { Store } from "../store/store.ts";
import { buildGraph, graphStages } from "./graph.ts";
import type { Project } from "./project.ts";

/**
 * Stages that were made in both caches from the same inputs with other outputs, in the order of the build: the first
 * ones are the cause.
 */
export async function compareStages(project: Project, a: Store, b: Store): Promise<string[]> {
  const found: string[] = [];
  for (const stage of graphStages(buildGraph(project.build, project.store))) {
    const id = stageId(stage);
    const [one, two] = [await peekAction(a, id), await peekAction(b, id)];
    if (one === undefined || two === undefined) continue;
    for (const [name, { sha256 }] of Object.entries(one.outputs)) {
      if (two.outputs[name]?.sha256 !== sha256) found.push(`${stage.name}: ${name}`);
    }
  }
  return found;
}

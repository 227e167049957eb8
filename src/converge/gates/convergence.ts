import { convergenceProblems } from "../progress.ts";
import type { Gate } from "./types.ts";

/** The hub has converged every node, and a second run changes nothing on any. */
export const convergenceGate: Gate = {
  name: "convergence",
  summary: "every node is converged, and converging again changes nothing",
  async run({ layer, convergence }) {
    if (convergence === undefined) {
      return [{ what: "convergence", ok: false, evidence: "the platform has no convergence: not checked" }];
    }
    const { first } = convergence;
    if (first?.outcome !== "passed") {
      const problems = first === undefined ? ["the hub has not converged anything"] : convergenceProblems(first);
      return problems.map((problem) => ({ what: "the first convergence", ok: false, evidence: problem }));
    }
    const again = await convergence.again();
    const problems = convergenceProblems(again);
    const checks = problems.map((problem) => ({ what: "converging again", ok: false, evidence: problem }));
    for (const { name } of layer.nodes) {
      const stages = again.stages.filter(({ stage, nodes }) => stage !== "fabric" && name in nodes);
      const changing = stages.filter(({ nodes }) => nodes[name]!.changed > 0);
      const tasks = stages.reduce((sum, { nodes }) => sum + nodes[name]!.ok, 0);
      const evidence =
        changing.length === 0
          ? `${tasks} tasks in ${stages.length} stages, changed=0`
          : changing.map(({ stage, nodes }) => `${stage} changed=${nodes[name]!.changed}`).join(", ");
      checks.push({ what: `${name} again`, ok: changing.length === 0 && tasks > 0, evidence });
    }
    return checks;
  },
};

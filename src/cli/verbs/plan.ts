import { defaultSpecFile } from "../options.ts";
import { projectOptions, withProjectOptions } from "../project-options.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos plan` */
export function planVerb() {
  const command = verb("plan", {
    summary: "show every step that build and up would take",
    description: "Lists the stages with what is cached, and what each node's planes cost. Changes nothing.",
    examples: [["plan cluster.yaml", "the steps, without taking them"]],
  }).argument("[spec]", "the spec", defaultSpecFile);
  return withProjectOptions(command).action(async (specFile, flags, self) => {
    await runVerb(self, async (context) => {
      const [{ openProject }, { planProject, planText }] = await Promise.all([
        import("../../lifecycle/project.ts"),
        import("../../lifecycle/plan.ts"),
      ]);
      const project = await openProject(specFile, projectOptions(flags, false), context);
      const plan = await planProject(project);
      return { data: { ...plan }, text: planText(plan) };
    });
  });
}

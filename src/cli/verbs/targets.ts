import { formatTable } from "../../../shared/table.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos targets` */
export function targetsVerb() {
  return verb("targets", {
    summary: "list the formats that `build` writes",
    description:
      "What each is for and what it needs. Any of them goes into `targets` of the spec, or behind --target. docs/targets.md says more.",
    examples: [
      ["targets", "all formats"],
      ["targets --json", "the same for programs"],
      ["build lab.yaml --target qcow2,ova", "two of them"],
    ],
    exits: [2],
  }).action(async (_options, command) => {
    await runVerb(command, async () => {
      const { targets } = await import("../../targets/registry.ts");
      const list = Object.values(targets).map(({ name, summary, needs, extension }) => ({
        name,
        summary,
        needs,
        extension,
      }));
      const rows = list.map(({ name, summary, needs }) => [name, summary, needs]);
      return { data: { targets: list }, text: formatTable(["TARGET", "FOR", "NEEDS"], rows) };
    });
  });
}

import { expect, test } from "vitest";
import { convergenceStages, type ConvergenceStage, type ConvergenceStageName } from "../../shared/convergence.ts";
import { isWanted, runGraph } from "./graph.ts";

type Step = `${"start" | "end" | "block"} ${string}`;

/** Runs the graph with stages that take one turn of the event loop each; `bad` ones fail. */
async function steps(bad: readonly ConvergenceStageName[] = [], atOnce = 10): Promise<Step[]> {
  const log: Step[] = [];
  await runGraph(
    async (stage) => {
      log.push(`start ${stage.name}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
      log.push(`end ${stage.name}`);
      return bad.includes(stage.name) ? "bad" : "good";
    },
    (stage) => log.push(`block ${stage.name}`),
    atOnce,
  );
  return log;
}

function started(log: readonly Step[]): string[] {
  return log.flatMap((step) => (step.startsWith("start ") ? [step.slice(6)] : []));
}

test("the graph can be walked: each stage needs only stages that the list has before it", () => {
  const seen = new Set<string>();
  for (const { name, needs } of convergenceStages) {
    expect({ name, unknown: needs.filter((need) => !seen.has(need)) }).toEqual({ name, unknown: [] });
    seen.add(name);
  }
});

test("each stage starts after all that it needs have ended", async () => {
  const log = await steps();
  expect(started(log)).toHaveLength(convergenceStages.length);
  for (const { name, needs } of convergenceStages) {
    for (const need of needs) expect(log.indexOf(`end ${need}`)).toBeLessThan(log.indexOf(`start ${name}`));
  }
});

test("stages that do not need one another run side by side", async () => {
  const log = await steps();
  expect(log.indexOf("start observability")).toBeLessThan(log.indexOf("end storage"));
  const one = await steps([], 1);
  expect(one.filter((_, i) => i % 2 === 0).every((step) => step.startsWith("start"))).toBe(true);
});

test("a stage that fails stops what depends on it, and nothing else", async () => {
  const log = await steps(["data"]);
  expect(log.filter((step) => step.startsWith("block"))).toEqual(["block workload", "block acceptance"]);
  expect(started(log)).toEqual(expect.arrayContaining(["edge", "observability", "runtime"]));
});

test("nothing runs on a fabric that is not there", async () => {
  expect(started(await steps(["fabric"]))).toEqual(["fabric"]);
});

test("a platform and a run leave out what they have no use for", () => {
  const wanted = (features: string[], options = {}) =>
    convergenceStages.filter((stage: ConvergenceStage) => isWanted(stage, features, options)).map(({ name }) => name);
  expect(wanted(["ansible"])).toEqual(["fabric", "baseline", "workload", "acceptance"]);
  expect(wanted(["ansible", "etcd"])).toEqual(["fabric", "baseline", "data", "workload", "acceptance"]);
  expect(wanted(["etcd"], { from: "workload" })).toEqual(["fabric", "workload", "acceptance"]);
});

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { formatPlace, type Problem } from "../../shared/error.ts";
import { constraints } from "../../src/spec/constraints/registry.ts";
import { readDocument } from "../../src/spec/document.ts";
import { parseSpec } from "../../src/spec/load.ts";
import { normalise } from "../../src/spec/normalise.ts";
import { specSchema } from "../../src/spec/schema.ts";

const folder = join(import.meta.dirname, "spec");
const names = readdirSync(folder)
  .filter((file) => file.endsWith(".yaml"))
  .toSorted();

function read(name: string): string {
  return readFileSync(join(folder, name), "utf8");
}

function render(problem: Problem): string {
  return `${formatPlace(problem.at!)}: ${problem.message}\n    ${problem.hint}\n`;
}

test.each(names)("%s: every problem, with its place and what to write", async (name) => {
  const { spec, problems } = parseSpec(read(name), name);
  expect(spec).toBeUndefined();
  expect(problems.filter((problem) => problem.hint === undefined)).toEqual([]);
  await expect(problems.map(render).join("")).toMatchFileSnapshot(join(folder, name.replace(/yaml$/, "txt")));
});

test("every constraint refuses at least one of the bad specs", () => {
  const fired = new Set<string>();
  for (const name of names) {
    const shape = specSchema.safeParse(readDocument(read(name), name).value);
    if (!shape.success) continue;
    const view = { ...normalise(shape.data), written: shape.data };
    for (const constraint of constraints) if (constraint.check(view).length > 0) fired.add(constraint.name);
  }
  expect(constraints.map((constraint) => constraint.name).filter((name) => !fired.has(name))).toEqual([]);
});

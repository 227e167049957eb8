import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { jsonLines, kubedos, projectRoot } from "./kubedos.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-check-"));
  await writeFile(
    join(directory, "bad.yaml"),
    "apiVersion: kubedos/v1\nmetadata: { name: Bad }\nnodes:\n  - { name: a, role: hubb }\nplanez: []\n",
  );
});
afterAll(() => rm(directory, { recursive: true, force: true }));

test("the example passes", async () => {
  const outcome = await kubedos(["check", join(projectRoot, "examples/lab.yaml"), "--json"]);
  expect(outcome.status).toBe(0);
  expect(jsonLines(outcome.stdout).at(-1)).toMatchObject({ ok: true, nodes: 3, planes: ["wg1", "wg2", "wg3"] });
});

test("all problems at once, by position, with a hint each, and how many there are", async () => {
  const outcome = await kubedos(["check", "bad.yaml"], { cwd: directory });
  expect(outcome).toMatchObject({ status: 2, stdout: "" });
  const places = [...outcome.stderr.matchAll(/^bad\.yaml:(\d+):\d+: /gm)].map((match) => Number(match[1]));
  expect(places).toEqual([2, 4, 5]);
  expect(outcome.stderr).toContain("did you mean `hub`");
  expect(outcome.stderr).toContain("did you mean `planes`");
  expect(outcome.stderr).toContain("3 problems");
});

test("the same as data", async () => {
  const outcome = await kubedos(["check", "bad.yaml", "--json"], { cwd: directory });
  const result = jsonLines(outcome.stdout).at(-1) as { error: { code: string; problems: unknown[] } };
  expect(result.error.code).toBe("spec");
  expect(result.error.problems).toHaveLength(3);
  expect(result.error.problems[0]).toMatchObject({ at: { file: "bad.yaml", line: 2 } });
});

test("schema prints a JSON Schema that describes the fields", async () => {
  const outcome = await kubedos(["schema"]);
  const schema = JSON.parse(outcome.stdout) as { $schema: string; properties: Record<string, unknown> };
  expect(schema.$schema).toBe("https://json-schema.org/draft/2020-12/schema");
  expect(Object.keys(schema.properties)).toContain("planes");
});

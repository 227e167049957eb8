import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { features } from "../features/registry.ts";
import { featureNeeds } from "./feature-needs.ts";
import { parseSpec } from "./load.ts";
import { specReference } from "./reference.ts";
import { specJsonSchema } from "./schema.ts";
import { starterSpec } from "./starter.ts";
import { featureNames } from "./types.ts";

const docs = join(import.meta.dirname, "../../docs");

test("docs/spec.md says what the schema says", async () => {
  await expect(specReference()).toMatchFileSnapshot(join(docs, "spec.md"));
});

test("docs/spec.schema.json is the schema", async () => {
  await expect(`${JSON.stringify(specJsonSchema(), null, 2)}\n`).toMatchFileSnapshot(join(docs, "spec.schema.json"));
});

test("every field of the schema has a description", () => {
  const bare: string[] = [];
  const visit = (schema: Record<string, unknown>, path: string): void => {
    if (typeof schema["description"] !== "string") bare.push(path);
    for (const [name, field] of Object.entries(
      (schema["properties"] ?? {}) as Record<string, Record<string, unknown>>,
    )) {
      visit(field, `${path}.${name}`);
    }
    const items = schema["items"] as Record<string, unknown> | undefined;
    if (items?.["properties"] !== undefined) visit(items, `${path}[]`);
  };
  visit(specJsonSchema(), "spec");
  expect(bare).toEqual([]);
});

test.each([
  [{}],
  [{ substrate: "nspawn" as const, operator: "ann" }],
  [{ foundryKey: `RW${"Q".repeat(54)}`, schema: "cluster.schema.json" }],
])("the starter spec passes with %j", (options) => {
  const { spec, problems } = parseSpec(starterSpec("demo", options), "cluster.yaml");
  expect(problems).toEqual([]);
  expect(spec).toMatchObject({
    metadata: { name: "demo" },
    trust: { operators: [{ name: "operator", ...("operator" in options ? { name: options.operator } : {}) }] },
  });
});

test("the examples tell editors where the schema is", () => {
  for (const name of ["lab", "lab-nspawn"]) {
    const text = readFileSync(join(docs, `../examples/${name}.yaml`), "utf8");
    expect(text.split("\n")[0]).toBe("# yaml-language-server: $schema=../docs/spec.schema.json");
  }
});

test("features say of themselves what the spec says that they need", () => {
  for (const name of featureNames) expect(features[name].needs).toEqual(featureNeeds[name]);
});

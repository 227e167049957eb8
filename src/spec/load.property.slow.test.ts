import fc from "fast-check";
import { expect, test } from "vitest";
import { stringify } from "yaml";
import type { Problem } from "../../shared/error.ts";
import { validDocument, type WrittenDocument } from "../../tests/fakes/spec-documents.ts";
import { formatPath, type Path } from "./finding.ts";
import { valueAt } from "./issues.ts";
import { parseSpec } from "./load.ts";

function isInside(text: string, problem: Problem): boolean {
  const lines = text.split("\n");
  const { line = 0, col = 0 } = problem.at ?? { file: "" };
  return line >= 1 && line <= lines.length && col >= 1 && col <= lines[line - 1]!.length + 1;
}

/** Every path of a document, lists and maps included, the root not. */
function allPaths(value: unknown, path: Path = []): Path[] {
  const own = path.length === 0 ? [] : [path];
  if (typeof value !== "object" || value === null) return own;
  const keys = Array.isArray(value) ? [...value.keys()] : Object.keys(value);
  return [...own, ...keys.flatMap((key) => allPaths((value as Record<string | number, unknown>)[key], [...path, key]))];
}

function withValue(document: WrittenDocument, path: Path, value: unknown): WrittenDocument {
  const copy = structuredClone(document);
  const holder = valueAt(copy, path.slice(0, -1)) as Record<string | number, unknown>;
  holder[path.at(-1)!] = value;
  return copy;
}

test("every valid spec passes, with unique indexes and addresses", () => {
  fc.assert(
    fc.property(validDocument, (document) => {
      const { spec, problems } = parseSpec(stringify(document), "x.yaml");
      expect(problems).toEqual([]);
      const nodes = spec!.nodes;
      expect(new Set(nodes.map((node) => node.name)).size).toBe(nodes.length);
      expect(new Set(nodes.map((node) => node.index)).size).toBe(nodes.length);
      expect(new Set(nodes.map((node) => node.underlay)).size).toBe(nodes.length);
    }),
    { numRuns: 200 },
  );
});

test("a value of the wrong type is the only problem, at its own place", () => {
  fc.assert(
    fc.property(validDocument, fc.nat(), (document, choice) => {
      const paths = allPaths(document);
      const path = paths[choice % paths.length]!;
      const text = stringify(withValue(document, path, "@WRONG@"));
      const isText = typeof valueAt(document, path) === "string";
      const { problems } = parseSpec(text, "x.yaml");
      expect(problems.length).toBeGreaterThan(0);
      expect(problems.every((problem) => isInside(text, problem))).toBe(true);
      // Text in the place of text has the right type: other constraints may have their say about it.
      if (isText) return;
      expect(problems.map((problem) => problem.message)).toEqual([expect.stringContaining(formatPath(path))]);
      const line = text.split("\n").findIndex((content) => content.includes("@WRONG@")) + 1;
      expect(problems[0]!.at!.line).toBe(line);
    }),
    { numRuns: 300 },
  );
});

test("an unknown field is the only problem, at its key", () => {
  fc.assert(
    fc.property(validDocument, fc.nat(), (document, choice) => {
      const maps = allPaths(document).filter((path) => {
        const value = valueAt(document, path);
        return typeof value === "object" && !Array.isArray(value);
      });
      const path = maps[choice % maps.length]!;
      const text = stringify(withValue(document, [...path, "qqqqqqq"], 1));
      const { problems } = parseSpec(text, "x.yaml");
      expect(problems.map((problem) => problem.message)).toEqual([
        `\`qqqqqqq\` is not a field in \`${formatPath(path)}\``,
      ]);
      const lines = text.split("\n");
      const line = lines.findIndex((content) => content.includes("qqqqqqq"));
      expect(problems[0]!.at).toEqual({ file: "x.yaml", line: line + 1, col: lines[line]!.indexOf("qqqqqqq") + 1 });
    }),
    { numRuns: 200 },
  );
});

interface Mutation {
  name: string;
  mutate(document: WrittenDocument): WrittenDocument;
  says: RegExp;
}

const mutations: Mutation[] = [
  { name: "same name", mutate: (d) => append(d, "nodes", { name: firstNode(d)["name"] }), says: /same name/ },
  {
    name: "same index",
    mutate: (d) => append(append(d, "nodes", { name: "zz1", index: 900 }), "nodes", { name: "zz2", index: 900 }),
    says: /has index 900/,
  },
  { name: "overlap", mutate: (d) => append(d, "planes", { name: "extra", cidr: "10.1.128.0/17" }), says: /overlaps/ },
  {
    name: "host bits",
    mutate: (d) => append(d, "planes", { name: "extra", cidr: "10.77.0.9/16" }),
    says: /inside the network 10\.77\.0\.0\/16/,
  },
  {
    name: "small plane",
    mutate: (d) =>
      append(append(d, "planes", { name: "extra", cidr: "10.77.0.0/24" }), "nodes", { name: "zz", index: 255 }),
    says: /has 254 addresses/,
  },
  { name: "no hub", mutate: (d) => withValue(d, ["nodes", 0, "role"], "edge"), says: /no node has the role `hub`/ },
  { name: "even quorum", mutate: (d) => withValue(d, ["pools", 0, "count"], 4), says: /4 nodes have the role `core`/ },
  {
    name: "no control plane",
    mutate: (d) => withValue(d, ["planes", 0, "purpose"], "storage"),
    says: /no plane has the purpose `control`/,
  },
  {
    name: "implicit destruction",
    mutate: (d) => withValue(d, ["policy"], { onChange: "replace" }),
    says: /allowDestroy/,
  },
  { name: "little memory", mutate: (d) => withValue(d, ["nodes", 0, "memoryMiB"], 383), says: /is 383, less than 384/ },
  { name: "taken port", mutate: (d) => withValue(d, ["planes", 0, "port"], 7443), says: /belongs to `agent`/ },
];

function append(document: WrittenDocument, list: string, item: unknown): WrittenDocument {
  return { ...document, [list]: [...(document[list] as unknown[]), item] };
}

function firstNode(document: WrittenDocument): Record<string, unknown> {
  return (document["nodes"] as Record<string, unknown>[])[0]!;
}

test.each(mutations)("$name is reported with a place inside the file", ({ mutate, says }) => {
  fc.assert(
    fc.property(validDocument, (document) => {
      const text = stringify(mutate(document));
      const { spec, problems } = parseSpec(text, "x.yaml");
      expect(spec).toBeUndefined();
      expect(problems.map((problem) => problem.message)).toContainEqual(expect.stringMatching(says));
      expect(problems.every((problem) => isInside(text, problem) && problem.hint !== undefined)).toBe(true);
    }),
    { numRuns: 25 },
  );
});

const snippet = fc.constantFrom(
  ..."nodes:|- |  |\n|\t|name: |{|}|[|]|,|: |&a |*a|!!set |? |---\n|'|\"|#|apiVersion: kubedos/v1\n|metadata: |planes:\n|cidr: |10.0.0.0/8|~|null|.inf|0x1|1e999|__proto__: |<<: || |>".split(
    "|",
  ),
);

test("any text gives a spec or problems inside it, never an exception", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(snippet, { maxLength: 40 }).map((parts) => parts.join("")),
  );
  fc.assert(
    fc.property(text, (content) => {
      const { spec, problems } = parseSpec(content, "x.yaml");
      expect(spec === undefined).toBe(problems.length > 0);
      expect(problems.every((problem) => isInside(content, problem))).toBe(true);
    }),
    // Here the parser's own count of lines is one behind.
    { numRuns: 3000, examples: [["*aapiVersion: kubedos/v1\nnodes:: ---\n{nodes:nodes:"]] },
  );
});

test("a spec cut off anywhere gives a spec or problems inside it", () => {
  fc.assert(
    fc.property(validDocument, fc.double({ min: 0, max: 1, noNaN: true }), (document, part) => {
      const whole = stringify(document);
      const text = whole.slice(0, Math.floor(whole.length * part));
      const { spec, problems } = parseSpec(text, "x.yaml");
      expect(spec === undefined).toBe(problems.length > 0);
      expect(problems.every((problem) => isInside(text, problem))).toBe(true);
    }),
    { numRuns: 200 },
  );
});

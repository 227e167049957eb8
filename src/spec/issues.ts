import type { z } from "zod";
import { type Finding, formatPath, type Path } from "./finding.ts";
import { knownKeys } from "./keys.ts";
import { nearest, suggestName } from "./suggest.ts";

type Issue = z.core.$ZodIssue;

/** zod's issues as findings in the words of the spec. */
export function describeIssues(issues: readonly Issue[], value: unknown): Finding[] {
  return issues.flatMap((issue) => describeIssue(issue, value));
}

function describeIssue(issue: Issue, value: unknown): Finding[] {
  const path = issue.path as Path;
  const name = path.length === 0 ? "the spec" : `\`${formatPath(path)}\``;
  const actual = valueAt(value, path);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => unknownKey(path, key, knownKeys(path), value));
  }
  if (actual === undefined) {
    const field = String(path.at(-1));
    return [{ path, message: `${name} is missing`, hint: missingHint(issue, field) }];
  }
  if (actual === null) {
    return [{ path, message: `${name} has no value`, hint: "write one, or remove the line" }];
  }
  const own = issue.message.split("\n");
  if (own.length === 2) return [{ path, message: `${name}: ${own[0]}`, hint: own[1] }];
  switch (issue.code) {
    case "invalid_value": {
      const choices = issue.values.map(String);
      const hint =
        choices.length === 1
          ? `write \`${choices[0]}\``
          : suggestName(typeof actual === "string" ? actual : "", choices);
      return [{ path, message: `${name} is ${show(actual)}, which is not a valid value`, hint }];
    }
    case "too_small":
    case "too_big":
      return [rangeFinding(issue, path, name, actual)];
    case "invalid_type":
      return [
        {
          path,
          message: `${name} is ${show(actual)}, but must be ${expected[issue.expected] ?? issue.expected}`,
          hint: typeHint(issue.expected, actual, path),
        },
      ];
    default:
      return [{ path, message: `${name}: ${issue.message}` }];
  }
}

const expected: Record<string, string> = {
  string: "text",
  number: "a whole number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a map",
};

function typeHint(type: string, actual: unknown, path: Path): string {
  const field = String(path.at(-1) ?? "");
  switch (type) {
    case "object": {
      const keys = knownKeys(path);
      if (keys.length === 1 && isScalarValue(actual))
        return `write \`${field}: { ${keys[0]}: ${printable(String(actual))} }\``;
      return `write keys under it (${keys.slice(0, 6).join(", ")})`;
    }
    case "array":
      return isMapValue(actual)
        ? "start each item with `- `"
        : `write \`[${isScalarValue(actual) ? String(actual) : ""}]\``;
    case "string":
      return isScalarValue(actual) ? `put it in quotes: \`${field}: "${String(actual)}"\`` : "write text";
    case "boolean":
      return "write `true` or `false`, without quotes";
    case "int":
    case "number":
      return typeof actual === "string" && /^\d+$/.test(actual)
        ? `remove the quotes: \`${actual}\``
        : "write digits only; the unit is part of the field's name";
    default:
      return `write ${expected[type] ?? type}`;
  }
}

function rangeFinding(
  issue: Issue & { code: "too_small" | "too_big" },
  path: Path,
  name: string,
  actual: unknown,
): Finding {
  const low = issue.code === "too_small";
  const limit = String(low ? issue.minimum : issue.maximum);
  if (Array.isArray(actual))
    return { path, message: `${name} is an empty list`, hint: "write at least one item, or remove the field" };
  return {
    path,
    message: `${name} is ${show(actual)}, ${low ? "less" : "more"} than ${limit}`,
    hint: `write ${limit} or ${low ? "more" : "less"}`,
  };
}

function unknownKey(parent: Path, key: string, candidates: string[], value: unknown): Finding {
  const where = parent.length === 0 ? "at the top level" : `in \`${formatPath(parent)}\``;
  const present = new Set(Object.keys((valueAt(value, parent) as object | undefined) ?? {}));
  const free = candidates.filter((candidate) => !present.has(candidate));
  const guess = nearest(key, free);
  const hint =
    guess !== undefined
      ? `did you mean \`${guess}\`?`
      : key === "<<"
        ? "merge keys are not part of YAML 1.2; use `pools` for like nodes"
        : `remove it; valid keys: ${candidates.join(", ")}`;
  return { path: [...parent, key], key: true, message: `\`${printable(key)}\` is not a field ${where}`, hint };
}

function missingHint(issue: Issue, field: string): string {
  if (issue.code === "invalid_value" && issue.values.length === 1)
    return `write \`${field}: ${String(issue.values[0])}\``;
  return `write \`${field}:\` here`;
}

/** The value at a path; undefined where there is none. */
export function valueAt(value: unknown, path: Path): unknown {
  let current = value;
  for (const part of path) {
    if (current === null || typeof current !== "object" || !Object.hasOwn(current, part)) return undefined;
    current = (current as Record<string | number, unknown>)[part];
  }
  return current;
}

/** A value as a message shows it: scalars as written and cut short, the rest by kind. */
export function show(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (isMapValue(value)) return "a map";
  return typeof value === "string" ? `"${printable(value)}"` : printable(String(value));
}

/** Text of a spec for a terminal: no control characters (they could rewrite the line), at most 60 characters. */
export function printable(text: string): string {
  const clean = text.replaceAll(/\p{C}/gu, "?");
  return clean.length > 60 ? `${clean.slice(0, 57)}...` : clean;
}

function isMapValue(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isScalarValue(value: unknown): boolean {
  return typeof value !== "object" || value === null;
}

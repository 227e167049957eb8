import { isAlias, isMap, isNode, isScalar, isSeq, parseDocument, visit } from "yaml";
import type { Document, Node, YAMLError } from "yaml";
import type { Place, Problem } from "../../shared/error.ts";
import type { Path } from "./finding.ts";

/** A parsed YAML document: its value as plain data, and where each part of it is. */
export interface SpecDocument {
  /** Undefined where the text is not YAML or is empty. */
  value: unknown;
  /** Place of the value (or key) at a path; of the nearest part that is written where the path is not. */
  place(path: Path, key?: boolean): Place;
  problems: Problem[];
}

/** Aliases are followed this many times in all: enough for a spec, too few for a bomb. */
const maxAliasCount = 1000;

/**
 * Reads one YAML 1.2 document (core schema). All findings are returned, nothing is thrown.
 * @see https://yaml.org/spec/1.2.2/
 */
export function readDocument(text: string, file: string): SpecDocument {
  const document = parseDocument(text, {
    prettyErrors: false,
    stringKeys: true,
    // The parser prints warnings to the terminal otherwise; unresolved tags are collected anyway.
    logLevel: "error",
  });
  const lineColumn = lineColumns(text);
  const placeAt = (offset: number): Place => ({ file, ...lineColumn(offset) });
  const problems = syntaxProblems(document, placeAt);
  const readable = document.errors.every((error) => error.code === "DUPLICATE_KEY");
  const value = readable ? plainValue(document, placeAt, problems) : undefined;
  if (problems.length === 0 && (value === undefined || value === null)) {
    problems.push({
      message: "the spec is empty",
      hint: "write at least `apiVersion`, `metadata.name` and one node; `kubedos init` writes a starter",
      at: placeAt(0),
    });
  }
  return { value, problems, place: (path, key) => placeAt(offsetOf(document, path, key ?? false)) };
}

/**
 * Line and column, from 1, of an offset into the text. The parser's own counter misses a line where it gives up in the
 * middle of one, so the lines are counted here.
 */
function lineColumns(text: string): (offset: number) => { line: number; col: number } {
  const starts = [0, ...[...text.matchAll(/\n/g)].map((match) => match.index + 1)];
  return (offset) => {
    const at = Math.max(0, Math.min(offset, text.length));
    let [low, high] = [0, starts.length];
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (starts[middle]! <= at) low = middle;
      else high = middle;
    }
    return { line: low + 1, col: at - starts[low]! + 1 };
  };
}

function syntaxProblems(document: Document, placeAt: (offset: number) => Place): Problem[] {
  const exhausted = document.errors.find((error) => error.code === "RESOURCE_EXHAUSTION");
  if (exhausted !== undefined) {
    return [
      {
        message: "the YAML is nested too deeply",
        hint: "a spec needs no more than six levels",
        at: placeAt(exhausted.pos[0]),
      },
    ];
  }
  const seenLines = new Set<number | undefined>();
  const problems: Problem[] = [];
  for (const error of [...document.errors, ...document.warnings]) {
    const at = placeAt(error.pos[0]);
    // One slip makes the parser report several errors on its line; the first says it.
    if (seenLines.has(at.line)) continue;
    seenLines.add(at.line);
    problems.push({ ...describeSyntaxError(error), at });
  }
  return problems;
}

function describeSyntaxError(error: YAMLError): Problem {
  const message = `not valid YAML: ${error.message.split("\n")[0]}`;
  switch (error.code) {
    case "DUPLICATE_KEY":
      return { message: "this key is written twice in the same map", hint: "keep one of the two" };
    case "TAB_AS_INDENT":
      return { message: "a tab is used to indent", hint: "YAML is indented with spaces only" };
    case "MULTIPLE_DOCS":
      return {
        message: "the file holds more than one YAML document",
        hint: "one file is one cluster: remove from `---` on",
      };
    case "TAG_RESOLVE_FAILED":
      return {
        message: `YAML tags are not used in a spec: ${error.message}`,
        hint: "remove the word that starts with `!`",
      };
    case "NON_STRING_KEY":
      return { message: "a key is not a plain word", hint: "keys are names such as `nodes`" };
    case "MISSING_CHAR":
      return { message, hint: "a quote or a bracket that was opened must be closed" };
    case "BAD_INDENT":
      return { message, hint: "items of one list and keys of one map start in the same column" };
    case "BLOCK_AS_IMPLICIT_KEY":
      return { message, hint: "text that contains `: ` goes in quotes; a nested map starts on the next line" };
    default:
      return { message, hint: "text with special characters (`: # { [ & * ! | > ' \" %`) goes in quotes" };
  }
}

function plainValue(document: Document, placeAt: (offset: number) => Place, problems: Problem[]): unknown {
  try {
    return document.toJS({ maxAliasCount });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const unknown = /^Unresolved alias \(.*\): (.*)$/.exec(message)?.[1];
    problems.push(
      unknown === undefined
        ? { message: "YAML aliases expand to too much", hint: "use `pools` for like nodes", at: placeAt(0) }
        : {
            message: `the alias *${unknown} names nothing`,
            hint: `write &${unknown} at the value it stands for, above this line; or put text that starts with \`*\` in quotes`,
            at: placeAt(aliasOffset(document, unknown)),
          },
    );
    return undefined;
  }
}

function aliasOffset(document: Document, name: string): number {
  let offset = 0;
  visit(document, {
    Alias(_key, node) {
      if (node.source !== name) return undefined;
      offset = node.range?.[0] ?? 0;
      return visit.BREAK;
    },
  });
  return offset;
}

/** Offset of the deepest part of the path that is written. */
function offsetOf(document: Document, path: Path, wantKey: boolean): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const [depth, part] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(part));
      if (pair === undefined) return offset;
      node = pair.value;
      const keyOffset = startOf(pair.key);
      // A key without a value (`nodes:`) has an empty node somewhere after it; the key is the better place.
      const empty = !isNode(node) || (isScalar(node) && node.range?.[0] === node.range?.[1]);
      offset = ((wantKey && depth === path.length - 1) || empty ? keyOffset : startOf(node)) ?? offset;
    } else if (isSeq(node)) {
      node = node.items[Number(part)];
      offset = startOf(node) ?? offset;
    } else return offset;
  }
  return offset;
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? ((node as Node).range?.[0] ?? undefined) : undefined;
}

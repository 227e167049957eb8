import { LineCounter, parseDocument } from "yaml";
import type { Problem } from "../../shared/error.ts";

/** A file of the user's `salt/`, with its path there. */
export interface StateFile {
  path: string;
  content: Uint8Array;
  /** Where it was read. */
  source: string;
}

/** Jinja's blocks that need an end (https://jinja.palletsprojects.com, "List of Control Structures"; Salt's own too). */
const blocks = new Set(["if", "for", "macro", "call", "filter", "block", "raw", "with", "autoescape", "trans"]);

/** First lines that choose another renderer than Jinja and YAML; what is below is not ours to read. */
const otherRenderer = /^#!.*\b(py|pydsl|pyobjects|mako|json|json5|toml|gpg|stateconf|cheetah|genshi|wempy|hjson)\b/;

/**
 * What the text of states and pillar shows to be wrong: Jinja that is not closed, YAML that cannot be read, a file that
 * is not a map, a top file whose targets name nothing. What a state means is only known on the node.
 */
export function checkStates(files: readonly StateFile[]): Problem[] {
  const paths = new Set(files.map((file) => file.path));
  const strange = files.filter(({ path }) => !/^(states|pillar)\//.test(path));
  return [
    ...strange.slice(0, 1).map(({ source }) => ({
      message: `${source} is in neither states/ nor pillar/`,
      hint: "salt/states/ becomes Salt's file_roots, salt/pillar/ its pillar_roots",
      at: { file: source },
    })),
    ...files.filter(({ path }) => path.endsWith(".sls")).flatMap((file) => checkFile(file, paths)),
  ];
}

function checkFile({ path, content, source }: StateFile, paths: ReadonlySet<string>): Problem[] {
  const text = Buffer.from(content).toString("utf8");
  if (otherRenderer.test(text)) return [];
  const jinja = checkJinja(text, source);
  if (jinja.length > 0) return jinja;
  // What Jinja leaves behind is known only when it has run.
  if (/\{[{%#]/.test(text)) return [];
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, version: "1.1" });
  if (document.errors.length > 0) {
    return document.errors.slice(0, 1).map((error) => {
      const { line, col } = lines.linePos(error.pos[0]);
      const message = `${path}: ${error.message.split("\n")[0]!.replace(/ at line .*$/, "")}`;
      return { message, hint: "Salt reads it as YAML", at: { file: source, line, col } };
    });
  }
  const value: unknown = document.toJS();
  if (value === null || value === undefined) return [];
  if (typeof value !== "object" || Array.isArray(value)) {
    const hint = "write `ID:` with `module.function:` below it";
    return [{ message: `${path} is not a map`, hint, at: { file: source, line: 1 } }];
  }
  return /^(states|pillar)\/top\.sls$/.test(path) ? checkTop(path, value, paths, source) : [];
}

/** Every name in a top file has its file; names with wildcards are Salt's to resolve. */
function checkTop(path: string, top: object, paths: ReadonlySet<string>, source: string): Problem[] {
  const folder = path.split("/")[0]!;
  const names = Object.values(top).flatMap((targets: unknown) =>
    targets !== null && typeof targets === "object" ? Object.values(targets).flat() : [],
  );
  return names
    .filter((name): name is string => typeof name === "string" && !name.includes("*"))
    .filter((name) => {
      const file = `${folder}/${name.replaceAll(".", "/")}`;
      return !paths.has(`${file}.sls`) && !paths.has(`${file}/init.sls`);
    })
    .map((name) => ({
      message: `${path} names \`${name}\`, which is not there`,
      hint: `write ${folder}/${name.replaceAll(".", "/")}.sls, or take the name out`,
      at: { file: source },
    }));
}

/** Delimiters that are not closed, and blocks that do not end or end another. */
function checkJinja(text: string, source: string): Problem[] {
  const open: { name: string; line: number }[] = [];
  const problem = (offset: number, message: string): Problem[] => {
    const line = text.slice(0, offset).split("\n").length;
    return [{ message, hint: "Salt renders it with Jinja first", at: { file: source, line } }];
  };
  const closing = { "{{": "}}", "{%": "%}", "{#": "#}" } as const;
  let at = 0;
  for (;;) {
    const match = /\{[{%#]/.exec(text.slice(at));
    if (match === null) break;
    const start = at + match.index;
    const delimiter = match[0] as keyof typeof closing;
    const end = text.indexOf(closing[delimiter], start + 2);
    if (end < 0) return problem(start, `\`${delimiter}\` without \`${closing[delimiter]}\``);
    at = end + 2;
    if (delimiter !== "{%") continue;
    const [word = ""] = /[a-z_]+/.exec(text.slice(start + 2, end)) ?? [];
    const line = text.slice(0, start).split("\n").length;
    if (word === "raw") {
      const raw = /\{%[-+]?\s*endraw\s*[-+]?%\}/.exec(text.slice(at));
      if (raw === null) return problem(start, "`raw` without `endraw`");
      at += raw.index + raw[0].length;
    } else if (blocks.has(word)) open.push({ name: word, line });
    else if (word.startsWith("end") && blocks.has(word.slice(3))) {
      const last = open.pop();
      if (last?.name !== word.slice(3)) {
        const why = last === undefined ? "nothing is open" : `\`${last.name}\` of line ${last.line} is open`;
        return problem(start, `\`${word}\`, but ${why}`);
      }
    }
  }
  const [last] = open.slice(-1);
  if (last === undefined) return [];
  const hint = "Salt renders it with Jinja first";
  return [{ message: `\`${last.name}\` without \`end${last.name}\``, hint, at: { file: source, line: last.line } }];
}

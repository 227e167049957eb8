import { lineAt, type Source } from "./sources.ts";

/** A crossing of a wall: where, what, and the rule it breaks. */
export interface Violation {
  place: string;
  what: string;
  rule: string;
}

interface Rule {
  text: string;
  check(source: Source): { line: number; what: string }[];
}

/** Modules of node that reach a process, a socket or a name server. */
const reachingOut = /^node:(child_process|cluster|net|tls|http|https|http2|dns|dgram|readline|inspector)(\/|$)/;

/** What is different at the next run: clock, randomness, environment, network. */
const impure: readonly (readonly [pattern: RegExp, what: string])[] = [
  [/\bprocess\.env\b/g, "process.env"],
  [/\bDate\.now\b/g, "Date.now"],
  [/\bnew Date\(\s*\)/g, "new Date()"],
  [/\bperformance\.now\b/g, "performance.now"],
  [/\bprocess\.hrtime\b/g, "process.hrtime"],
  [/\bMath\.random\b/g, "Math.random"],
  [/\b(?:randomBytes|randomUUID|randomInt|randomFill|getRandomValues)\b/g, "randomness"],
  [/(?<![.\w])fetch\(/g, "fetch"],
  [/\bnew WebSocket\b/g, "WebSocket"],
];

/** Folders whose code is a function of its arguments: what `plan` shows is what will be done. */
const pureFolders = ["src/spec/", "src/fabric/", "src/features/", "src/lifecycle/plan"];
/** Files of these folders whose job is to read the input. */
const readers = new Set(["src/spec/load.ts"]);

export const rules: readonly Rule[] = [
  {
    text: "shared/ is the contract of both sides: it imports nothing but shared/",
    check: (source) => within(source, "shared/", (target) => target?.startsWith("shared/") === true),
  },
  {
    text: "node/ runs inside the image: it imports only node/, shared/ and node's own modules, no npm package (the bill of materials lists none)",
    check: (source) =>
      within(source, "node/", (target, specifier) =>
        target === undefined ? specifier.startsWith("node:") : /^(node|shared)\//.test(target),
      ),
  },
  {
    text: "src/ runs on the operator's machine: of the project it imports only src/ and shared/",
    check: (source) => within(source, "src/", (target) => target === undefined || /^(src|shared)\//.test(target)),
  },
  {
    text: "ui/ runs in a browser: of the project it imports only ui/ and shared/, and nothing of node",
    check: (source) =>
      within(source, "ui/", (target, specifier) =>
        target === undefined ? !specifier.startsWith("node:") : /^(ui|shared)\//.test(target),
      ),
  },
  {
    text: "src/host/ is the lowest room: it imports only itself and shared/",
    check: (source) =>
      within(source, "src/host/", (target) => target === undefined || /^(src\/host|shared)\//.test(target)),
  },
  {
    text: "src/cli/ is the highest room: nothing outside of it imports it",
    check: (source) =>
      source.path.startsWith("src/cli/")
        ? []
        : within(source, "src/", (target) => target?.startsWith("src/cli/") !== true),
  },
  {
    text: "only src/host/ starts processes and opens sockets",
    check: (source) =>
      source.path.startsWith("src/host/")
        ? []
        : within(source, "src/", (_target, specifier) => !reachingOut.test(specifier)),
  },
  {
    text: "only src/host/ reads the clock, randomness, the environment and the network",
    check: (source) =>
      source.path.startsWith("src/") && !source.path.startsWith("src/host/") ? findImpure(source) : [],
  },
  {
    text: "shared/ is pure: no clock, randomness, environment or network",
    check: (source) => (source.path.startsWith("shared/") ? findImpure(source) : []),
  },
  {
    text: "spec, fabric, features and plans are pure: no file system and nothing of src/host/ that does things",
    check: (source) =>
      pureFolders.some((folder) => source.path.startsWith(folder)) && !readers.has(source.path)
        ? within(source, "src/", (target, specifier) => !specifier.startsWith("node:fs") && !isDoer(target))
        : [],
  },
];

/** Names of paths are data; everything else of src/host/ does something. */
function isDoer(target: string | undefined): boolean {
  return target?.startsWith("src/host/") === true && !/^src\/host\/(paths|context)\.ts$/.test(target);
}

/** Imports of a file below `folder` that are not allowed. */
function within(
  source: Source,
  folder: string,
  allowed: (target: string | undefined, specifier: string) => boolean,
): { line: number; what: string }[] {
  if (!source.path.startsWith(folder)) return [];
  return source.imports
    .filter((one) => !allowed(one.target, one.specifier))
    .map((one) => ({ line: one.line, what: `imports ${one.target ?? one.specifier}` }));
}

function findImpure(source: Source): { line: number; what: string }[] {
  return impure.flatMap(([pattern, what]) =>
    [...source.code.matchAll(pattern)].map((match) => ({
      line: lineAt(source.code, match.index),
      what: `uses ${what}`,
    })),
  );
}

/** Tests and what only tests use may look everywhere. */
export function isTestCode(path: string): boolean {
  return /\.test\.tsx?$|(^|\/)testing(\.ts$|\/)|\.fake\.ts$/.test(path);
}

export function findViolations(sources: readonly Source[]): Violation[] {
  return sources
    .filter((source) => !isTestCode(source.path))
    .flatMap((source) =>
      rules.flatMap((rule) =>
        rule.check(source).map(({ line, what }) => ({ place: `${source.path}:${line}`, what, rule: rule.text })),
      ),
    );
}

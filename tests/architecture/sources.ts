import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

export const projectRoot = join(import.meta.dirname, "../..");

/** One source file as the architecture test sees it. Paths are relative to the project's root. */
export interface Source {
  path: string;
  /** Text without comments. */
  code: string;
  imports: Import[];
}

export interface Import {
  line: number;
  /** As written, e.g. `node:fs` or `../host/run.ts`. */
  specifier: string;
  /** Path of the imported file; absent for packages and node's own modules. */
  target?: string;
}

/** Every TypeScript file below the given folders, sorted. */
export function readSources(folders: readonly string[]): Source[] {
  return folders
    .flatMap((folder) => filesBelow(folder))
    .map((path) => parseSource(path, readFileSync(join(projectRoot, path), "utf8")));
}

function filesBelow(folder: string): string[] {
  const entries = readdirSync(join(projectRoot, folder), { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && /\.(ts|tsx|mts)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name).slice(projectRoot.length + 1))
    .toSorted();
}

/** Type imports count too: a type is a dependency. */
export function parseSource(path: string, text: string): Source {
  const code = withoutComments(text);
  const pattern = /\b(?:import|export)\b[^;"'`]*?\bfrom\s*["']([^"']+)["']|\bimport\s*(?:\(\s*)?["']([^"']+)["']/g;
  const imports = [...code.matchAll(pattern)].map((match) => {
    const specifier = match[1] ?? match[2]!;
    const target = specifier.startsWith(".") ? normalize(join(dirname(path), specifier)) : undefined;
    return { line: lineAt(code, match.index + match[0].length), specifier, target };
  });
  return { path, code, imports };
}

/** Line of an offset, from 1. */
export function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}

/** Comments become blanks of the same number of lines; strings are kept, `//` inside of them too. */
function withoutComments(text: string): string {
  const pattern = /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\[^]|[^`\\])*`)|\/\*[^]*?\*\/|\/\/[^\n]*/g;
  return text.replaceAll(pattern, (whole, literal: string | undefined) => literal ?? whole.replaceAll(/[^\n]/g, " "));
}

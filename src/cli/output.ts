import { formatPlace, KubedosError, type Place, type Problem } from "../../shared/error.ts";
import { count, type Paint, printable } from "./format.ts";

/** What a verb hands back: the same facts for programs and for people. */
export interface VerbResult {
  /** Fields of the final `result` object under `--json`. */
  data: Record<string, unknown>;
  /** What a person reads on standard output; no trailing newline. */
  text?: string;
  /** Exit status where the work was done but its finding is bad, e.g. of `doctor`; default 0. */
  status?: number;
}

/** The final object of every `--json` run. */
export type ResultObject =
  | ({ type: "result"; at: string; verb: string; ok: boolean } & Record<string, unknown>)
  | {
      type: "result";
      at: string;
      verb: string;
      ok: false;
      error: { code: string; message: string; hint?: string; at?: Place; problems?: readonly Problem[] };
    };

/** Anything thrown, as a `KubedosError`; what is not one is a fault of kubedos itself and keeps its stack as cause. */
export function asKubedosError(thrown: unknown, aborted = false): KubedosError {
  if (thrown instanceof KubedosError) return thrown;
  if (aborted) return new KubedosError("interrupted", "interrupted", { cause: thrown });
  const error: NodeJS.ErrnoException = thrown instanceof Error ? thrown : new Error(String(thrown));
  const system = describeSystemError(error);
  if (system !== undefined) return new KubedosError("failed", error.message, { hint: system, cause: thrown });
  return new KubedosError("failed", `unexpected: ${error.message}`, {
    hint: "this is a fault in kubedos; run again with --verbose and report what it prints",
    cause: thrown,
  });
}

function describeSystemError(error: NodeJS.ErrnoException): string | undefined {
  switch (error.code) {
    case "ENOSPC":
      return "the disk is full: free some space (`kubedos store gc` removes unused objects) and run again";
    case "EACCES":
    case "EPERM":
      return "check the owner and mode of the path, or run as the user who owns it";
    case "EROFS":
      return "the file system is read-only; set KUBEDOS_CACHE or work in a directory that can be written";
    case "EMFILE":
      return "too many open files: raise the limit with `ulimit -n 4096`";
    default:
      return undefined;
  }
}

/** An error for people: its findings by place, then what was wrong, where, and what to do. */
export function formatError(error: KubedosError, paint: Paint, verbose = false): string {
  const lines: string[] = [];
  const problems = sortProblems(error.problems);
  for (const problem of problems) lines.push(...formatProblem(problem, paint));
  lines.push(`${paint.bold(paint.red("error:"))} ${placeBefore(error)}${printable(error.message)}`);
  if (problems.length > 0 && !/\bproblems?\b/.test(error.message)) lines.push(`  ${count(problems.length, "problem")}`);
  if (error.hint !== undefined) lines.push(formatHint(error.hint, paint));
  if (verbose && error.cause instanceof Error)
    lines.push(paint.dim(printable(error.cause.stack ?? error.cause.message)));
  return lines.join("\n");
}

/** A message that names the file already does not get it again. */
function placeBefore({ at, message }: KubedosError): string {
  if (at === undefined || (at.line === undefined && message.includes(at.file))) return "";
  return `${formatPlace(at)}: `;
}

/** By file, line and column; what has no place comes last, in its order. */
export function sortProblems(problems: readonly Problem[]): Problem[] {
  const last = Number.MAX_SAFE_INTEGER;
  return problems.toSorted(
    (a, b) =>
      compareText(a.at?.file ?? "\uffff", b.at?.file ?? "\uffff") ||
      (a.at?.line ?? last) - (b.at?.line ?? last) ||
      (a.at?.col ?? last) - (b.at?.col ?? last),
  );
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function formatProblem(problem: Problem, paint: Paint): string[] {
  const place = problem.at === undefined ? "" : `${paint.bold(formatPlace(problem.at))}: `;
  const lines = [`${place}${printable(problem.message)}`];
  if (problem.hint !== undefined) lines.push(formatHint(problem.hint, paint));
  return lines;
}

function formatHint(hint: string, paint: Paint): string {
  return `  ${paint.cyan("hint:")} ${printable(hint).replaceAll("\n", "\n        ")}`;
}

/** The same error as the final object of a `--json` run. */
export function errorResult(verb: string, at: string, error: KubedosError): ResultObject {
  const { code, message, hint, at: place, problems } = error;
  return {
    type: "result",
    at,
    verb,
    ok: false,
    error: { code, message, hint, at: place, problems: problems.length === 0 ? undefined : sortProblems(problems) },
  };
}

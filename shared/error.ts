/** Where in a file a problem is. Lines and columns count from 1. */
export interface Place {
  file: string;
  line?: number;
  col?: number;
}

/** What kind of ending an error means for the process; see `exitCodes`. */
export type ErrorCode =
  | "failed" // a step could not be done
  | "usage" // wrong command line
  | "spec" // the spec, lock or another input file is wrong
  | "gate" // a gate was not met, or could not be checked
  | "offline" // an input is missing and the network may not be used
  | "interrupted"; // Ctrl-C or SIGTERM

/** Exit status of the `kubedos` command for each error code. 0 is success. */
export const exitCodes = {
  failed: 1,
  usage: 2,
  spec: 2,
  gate: 3,
  offline: 4,
  interrupted: 130,
} as const satisfies Record<ErrorCode, number>;

/** One finding of several (`check` prints all of them at once). */
export interface Problem {
  message: string;
  hint?: string;
  at?: Place;
}

/**
 * The one error class of kubedos. `message` says what was wrong and where, `hint` what to do about it.
 * `problems` holds the findings where one error stands for several.
 */
export class KubedosError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly at: Place | undefined;
  readonly problems: readonly Problem[];

  constructor(
    code: ErrorCode,
    message: string,
    options: { hint?: string; at?: Place; cause?: unknown; problems?: readonly Problem[] } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "KubedosError";
    this.code = code;
    this.hint = options.hint;
    this.at = options.at;
    this.problems = options.problems ?? [];
  }
}

/** `file:line:col`, as compilers and editors write a place. */
export function formatPlace(at: Place): string {
  return [at.file, at.line, at.col].filter((part) => part !== undefined).join(":");
}

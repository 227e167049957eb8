import type { Emit } from "../../../shared/events.ts";
import type { KubedosError } from "../../../shared/error.ts";
import type { VerbResult } from "../output.ts";

/** How much a person wants to read. */
export type Verbosity = "quiet" | "normal" | "verbose";

/** Shows one run: its events, then its result or its error. */
export interface Renderer {
  emit: Emit;
  /** A line for people in between, e.g. a notice at Ctrl-C. */
  notice(text: string): void;
  result(verb: string, result: VerbResult): void;
  error(verb: string, error: KubedosError): void;
  /** Takes away what is only shown while the run lasts. */
  close(): void;
}

import type { Emit } from "../../shared/events.ts";

/** What every long-running operation gets: where to report, and when to stop. */
export interface RunContext {
  emit: Emit;
  signal: AbortSignal;
  /** Never use the network; a missing input is an error that lists it. */
  offline: boolean;
}

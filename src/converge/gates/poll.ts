import { delay, nowMs } from "../../host/clock.ts";
import type { GateContext } from "./types.ts";

const everyMs = 1_000;

/**
 * Looks until `done` or until the time is over; the last look either way. What throws counts as a look that has not
 * succeeded, unless the run is interrupted.
 */
export async function poll<T>(
  { signal }: Pick<GateContext, "signal">,
  limitSeconds: number,
  look: () => Promise<T>,
  done: (value: T) => boolean,
): Promise<T> {
  const deadline = nowMs() + limitSeconds * 1000;
  for (;;) {
    let failure: unknown;
    try {
      const value = await look();
      if (done(value) || nowMs() > deadline) return value;
    } catch (error) {
      signal.throwIfAborted();
      failure = error;
    }
    if (failure !== undefined && nowMs() > deadline) throw failure;
    await delay(everyMs, signal);
  }
}

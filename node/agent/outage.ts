import type { Outage, ScanTarget } from "../../shared/agent-api.ts";
import { scan } from "./scan.ts";
import { sleep } from "./text.ts";

/** How long one try may take. */
const tryMs = 500;

/**
 * Tries one target again and again and tells the longest time without an answer, from the last success to the next.
 *
 * @throws KubedosError when this node itself cannot try
 */
export async function measureOutage(target: ScanTarget, durationMs: number, everyMs: number): Promise<Outage> {
  const started = performance.now();
  let lastOpen: number | undefined;
  let longestMs = 0;
  let attempts = 0;
  let failures = 0;
  while (performance.now() - started < durationMs) {
    const began = performance.now();
    const [result] = await scan([target], tryMs);
    attempts += 1;
    if (result?.outcome === "open") {
      if (lastOpen !== undefined) longestMs = Math.max(longestMs, performance.now() - lastOpen);
      lastOpen = performance.now();
    } else failures += 1;
    await sleep(Math.max(0, everyMs - (performance.now() - began)));
  }
  // What has not come back when the time is over is an outage too.
  const sinceMs = performance.now() - (lastOpen ?? started);
  const answersAtEnd = lastOpen !== undefined && sinceMs < everyMs + tryMs;
  return {
    attempts,
    failures,
    longestMs: Math.round(answersAtEnd ? longestMs : Math.max(longestMs, sinceMs)),
    answersAtEnd,
  };
}

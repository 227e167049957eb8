import { setMaxListeners } from "node:events";
import { KubedosError } from "../../shared/error.ts";
import { killRunning } from "./run.ts";

/** An abort signal that follows SIGINT, SIGTERM and SIGHUP. */
export interface InterruptScope {
  signal: AbortSignal;
  /** Gives the signals their default effect again. */
  release(): void;
}

const watched = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * The first signal aborts, so that running work can clean up after itself; a second one ends the process and all
 * commands it runs at once, with status 130.
 *
 * @param onFirst called at the first signal, to tell the person what happens
 */
export function watchInterrupts(onFirst: () => void): InterruptScope {
  const controller = new AbortController();
  // Every running command listens to it, and there may be many.
  setMaxListeners(0, controller.signal);
  const onSignal = (name: NodeJS.Signals) => {
    if (controller.signal.aborted) {
      killRunning();
      process.exit(130);
    }
    onFirst();
    controller.abort(new KubedosError("interrupted", `interrupted by ${name}`));
  };
  for (const name of watched) process.on(name, onSignal);
  return {
    signal: controller.signal,
    release: () => {
      for (const name of watched) process.off(name, onSignal);
    },
  };
}

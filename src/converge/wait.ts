import { convergenceStages } from "../../shared/convergence.ts";
import { KubedosError } from "../../shared/error.ts";
import { delay, nowMs } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import type { Lab, Substrate } from "../substrates/types.ts";
import type { Observer } from "./observe.ts";
import type { ConvergenceProgress } from "./progress.ts";

const pollMs = 300;

/**
 * Waits until the hub that drives the nodes has ended its first run, as far as its time limits let it take. A hub that
 * dies meanwhile and comes back goes on by itself.
 *
 * @throws KubedosError when the time is up or the hub's machine is gone
 */
export async function waitForConvergence(
  hub: string,
  observer: Observer,
  substrate: Substrate,
  lab: Lab,
  context: RunContext,
): Promise<ConvergenceProgress> {
  const timeoutSeconds = convergenceStages.reduce((sum, stage) => sum + stage.timeoutSeconds, 0);
  const deadline = nowMs() + timeoutSeconds * 1000;
  for (;;) {
    await observer.poll();
    const progress = observer.convergence();
    if (progress?.outcome === "passed" || progress?.outcome === "failed") return progress;
    const machine = (await substrate.status(lab)).find(({ node }) => node === hub)?.state ?? "absent";
    if (machine !== "running")
      throw new KubedosError("gate", `${hub} converges the nodes, and its machine is ${machine}`);
    if (nowMs() > deadline) {
      throw new KubedosError("gate", `the convergence did not end within ${timeoutSeconds} s`, {
        hint: `kubedos ssh ${hub} -- journalctl -u kubedos-converge`,
      });
    }
    await delay(pollMs, context.signal);
  }
}

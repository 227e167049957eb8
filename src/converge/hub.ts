import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import type { ConvergenceState, ConvergeOptions } from "../../shared/convergence.ts";
import { KubedosError } from "../../shared/error.ts";
import type { EventBody } from "../../shared/events.ts";
import { transitHub } from "../../shared/render/peers.ts";
import type { RunContext } from "../host/context.ts";
import type { SpecPaths } from "../host/paths.ts";
import { run } from "../host/run.ts";
import { nodeProgram } from "../substrates/node-program.ts";
import { sshCommand } from "../substrates/operator.ts";
import { foldProgress, type ConvergenceProgress } from "./progress.ts";

/** The convergence engine of a running cluster, reached over the control plane. */
export interface ConvergenceHub {
  /** Asks for a run and passes its events on until it ends. Ends well also when the run has failed. */
  converge(options: ConvergeOptions, context: RunContext): Promise<ConvergenceProgress>;
  /** What the hub keeps on its disk; undefined before the first run. */
  state(context: RunContext): Promise<ConvergenceState | undefined>;
  /** What ran in a stage, or on a node over all stages, in the last run. */
  log(name: string, context: RunContext): Promise<string>;
}

const quickMs = 60_000;
const notMet = 3;

/** @throws KubedosError when the platform has no convergence or no hub */
export function convergenceHub(cluster: { paths: SpecPaths; layer: ClusterLayer }): ConvergenceHub {
  const { paths, layer } = cluster;
  const hub = transitHub(layer);
  if (hub === undefined || !layer.features.includes("ansible")) {
    throw new KubedosError("failed", `${layer.cluster} has no convergence`, {
      hint: "add `ansible` to platform.features",
    });
  }
  const { name } = hub;

  async function call(args: readonly string[], context: RunContext, onLine?: (line: string) => void) {
    const ssh = await sshCommand(paths, layer, name, [...nodeProgram("converge"), ...args]);
    const timeoutMs = onLine === undefined ? quickMs : undefined; // a run has the limits of its stages
    const okStatuses = [0, notMet];
    const hint = `look at the hub: kubedos ssh ${name} -- journalctl -u kubedos-converge`;
    return run(ssh.command, ssh.args, { signal: context.signal, timeoutMs, okStatuses, hint, onStdoutLine: onLine });
  }

  return {
    async converge(options, context) {
      let progress: ConvergenceProgress | undefined;
      await call(["request", JSON.stringify(options)], context, (line) => {
        const event = parseEvent(line);
        if (event === undefined) return;
        progress = foldProgress(progress, event);
        context.emit(event);
      });
      if (progress === undefined || progress.outcome === "running") {
        throw new KubedosError("failed", `${name} ended without saying how the convergence ended`);
      }
      return progress;
    },
    async state(context) {
      const { stdout } = await call(["status"], context);
      const state = JSON.parse(stdout) as Partial<ConvergenceState>;
      return state.format === undefined ? undefined : (state as ConvergenceState);
    },
    log: async (wanted, context) => (await call(["log", wanted], context)).stdout,
  };
}

function parseEvent(line: string): EventBody | undefined {
  try {
    return JSON.parse(line) as EventBody;
  } catch {
    return undefined;
  }
}

import type { ClusterLayer } from "../../../shared/cluster-layer.ts";
import type { Spec } from "../../spec/types.ts";
import type { Observer } from "../observe.ts";
import type { ConvergenceProgress } from "../progress.ts";

/** What a gate works with. */
export interface GateContext {
  spec: Spec;
  layer: ClusterLayer;
  /** dm-verity root hash that was manufactured, hex. */
  rootHash: string;
  sealedSubstrate: boolean;
  observer: Observer;
  /** Absent: the platform has none. */
  convergence?: {
    /** The hub's run from first boot; absent: it has not ended. */
    first: ConvergenceProgress | undefined;
    again(): Promise<ConvergenceProgress>;
  };
  /** Runs a command on a node as an operator does, over SSH on the control plane. */
  shell: Shell;
  signal: AbortSignal;
  /** How long a gate waits for what nodes do in their own time; absent: the gate's own. */
  settleMs?: number;
}

export interface ShellResult {
  status: number;
  stdout: string;
  stderr: string;
}

/**
 * Runs one command on a node; each argument arrives as it is. Its exit status is part of the result.
 *
 * @throws KubedosError when the node cannot be reached or the command takes too long
 */
export type Shell = (
  node: string,
  command: readonly string[],
  options?: { input?: string; timeoutMs?: number },
) => Promise<ShellResult>;

/** One thing that was checked. */
export interface GateCheck {
  what: string;
  ok: boolean;
  /** What was seen. */
  evidence: string;
}

/** A check that must pass before the next stage. What cannot be checked is failed. */
export interface Gate {
  name: Spec["acceptance"]["gates"][number];
  summary: string;
  run(context: GateContext): Promise<GateCheck[]>;
}

import { stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { gateNames, type Spec } from "../spec/types.ts";
import { convergenceGate } from "./gates/convergence.ts";
import { certificatesGate } from "./gates/certificates.ts";
import { enrollmentGate } from "./gates/enrollment.ts";
import { fabricGate } from "./gates/fabric.ts";
import { firewallGate } from "./gates/firewall.ts";
import { sealedGate } from "./gates/sealed.ts";
import { containerdGate } from "./gates/containerd.ts";
import { ebpfGate } from "./gates/ebpf.ts";
import { etcdGate } from "./gates/etcd.ts";
import { isolationGate } from "./gates/isolation.ts";
import { logsGate } from "./gates/logs.ts";
import { securityGate } from "./gates/security.ts";
import { targetsGate } from "./gates/targets.ts";
import { vipGate } from "./gates/vip.ts";
import type { Gate, GateCheck, GateContext } from "./gates/types.ts";

/** All gates by name. */
export const gates = {
  fabric: fabricGate,
  sealed: sealedGate,
  firewall: firewallGate,
  convergence: convergenceGate,
  isolation: isolationGate,
  security: securityGate,
  etcd: etcdGate,
  containerd: containerdGate,
  vip: vipGate,
  targets: targetsGate,
  logs: logsGate,
  ebpf: ebpfGate,
  certificates: certificatesGate,
  enrollment: enrollmentGate,
} satisfies Record<Spec["acceptance"]["gates"][number], Gate>;

export interface GateResult {
  gate: string;
  summary: string;
  passed: boolean;
  seconds: number;
  checks: GateCheck[];
}

/**
 * Runs the spec's gates one after the other, in the order in which they build upon each other. A gate
 * that throws, or checks nothing, has failed.
 */
export async function runGates(gateContext: GateContext, context: RunContext): Promise<GateResult[]> {
  const results: GateResult[] = [];
  for (const name of gateNames.filter((one) => gateContext.spec.acceptance.gates.includes(one))) {
    const gate = gates[name];
    const elapsed = stopwatch();
    let checks: GateCheck[];
    try {
      checks = await gate.run(gateContext);
    } catch (error) {
      context.signal.throwIfAborted();
      checks = [{ what: gate.summary, ok: false, evidence: (error as Error).message }];
    }
    const failed = checks.filter((check) => !check.ok);
    const passed = checks.length > 0 && failed.length === 0;
    results.push({ gate: name, summary: gate.summary, passed, seconds: elapsed(), checks });
    if (passed) {
      context.emit({ type: "gate.passed", gate: name, summary: `${gate.summary} (${checks.length} checks)` });
    } else {
      const first = failed[0];
      const summary = first === undefined ? "nothing was checked" : `${first.what}: ${first.evidence}`;
      const more = failed.length > 1 ? ` (and ${failed.length - 1} more)` : "";
      context.emit({ type: "gate.failed", gate: name, summary: summary + more });
    }
  }
  return results;
}

import type { EnrollmentFacts } from "../../../shared/agent-api.ts";
import { isHub } from "../../../shared/render/peers.ts";
import { delay, nowMs } from "../../host/clock.ts";
import type { Gate, GateCheck } from "./types.ts";

const askMs = 90_000;
/** Minions connect on their own, and try again in their own time. */
const defaultSettleMs = 120_000;
const againMs = 2_000;

/**
 * Every hub's Salt master knows every node and nobody else, and every node answers it. No enrollment window is left open,
 * and the audit log is whole.
 */
export const enrollmentGate: Gate = {
  name: "enrollment",
  summary: "every node answers every Salt master, no stranger has a key there",
  async run({ layer, observer, settleMs = defaultSettleMs }) {
    const names = layer.nodes.map(({ name }) => name);
    const deadline = nowMs() + settleMs;
    const checks = await Promise.all(
      layer.nodes.filter(isHub).map(async (hub): Promise<GateCheck[]> => {
        for (;;) {
          const result = await observer.ask(hub.name, { command: "enrollment" }, askMs).then(
            (facts) => checkHub(hub.name, facts as EnrollmentFacts, names),
            (error: Error): GateCheck[] => [{ what: `${hub.name}: Salt master`, ok: false, evidence: error.message }],
          );
          if (result.every((check) => check.ok) || nowMs() > deadline) return result;
          await delay(againMs);
        }
      }),
    );
    return checks.flat();
  },
};

function checkHub(hub: string, facts: EnrollmentFacts, names: readonly string[]): GateCheck[] {
  const strangers = [
    ...facts.accepted.filter((name) => !names.includes(name)).map((name) => `${name} (accepted)`),
    ...facts.waiting.map((name) => `${name} (waiting)`),
    ...facts.rejected.map((name) => `${name} (rejected)`),
    ...facts.denied.map((name) => `${name} (denied: another key than the cluster layer's)`),
  ];
  return [
    ...names.map((name): GateCheck => {
      const accepted = facts.accepted.includes(name);
      const answers = facts.answering.includes(name);
      const evidence = `${accepted ? "key accepted" : "key not accepted"}, ${answers ? "answers" : "does not answer"}`;
      return { what: `${hub}: ${name} is enrolled`, ok: accepted && answers, evidence };
    }),
    {
      what: `${hub}: no stranger`,
      ok: strangers.length === 0,
      evidence:
        strangers.length === 0 ? `${facts.accepted.length} keys, all of the spec's nodes` : strangers.join(", "),
    },
    checkWindow(hub, facts),
  ];
}

function checkWindow(hub: string, { enrollment }: EnrollmentFacts): GateCheck {
  const what = `${hub}: enrollment is closed and logged`;
  if (enrollment === undefined) return { what, ok: false, evidence: "kubedos-enroll.service does not run" };
  const { mode, window, audit } = enrollment;
  const evidence = [
    mode === "preseed" ? "keys known beforehand" : window === undefined ? "no window is open" : "A WINDOW IS OPEN",
    ...(window === undefined ? [] : [`until ${window.closesAt}, by ${window.by}`]),
    audit.broken === undefined ? `audit log of ${audit.lines} lines` : `the audit log is not whole: ${audit.broken}`,
  ];
  return { what, ok: window === undefined && audit.broken === undefined, evidence: evidence.join(", ") };
}

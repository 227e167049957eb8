import type { NodeFacts } from "../../../shared/events.ts";
import type { Gate, GateCheck } from "./types.ts";

const timeoutMs = 30_000;

/** Every node runs what was manufactured, and its firmware enforces it. */
export const sealedGate: Gate = {
  name: "sealed",
  summary: "Secure Boot enforced, root hash as manufactured, TPM present, state as the spec says",
  async run({ layer, observer, rootHash, sealedSubstrate, spec }) {
    if (!sealedSubstrate) {
      return [{ what: "substrate", ok: false, evidence: "its machines share the host's kernel: nothing is sealed" }];
    }
    const checks = await Promise.all(
      layer.nodes.map(async ({ name }): Promise<GateCheck[]> => {
        try {
          const facts = (await observer.ask(name, { command: "facts" }, timeoutMs)) as NodeFacts;
          return check(name, facts, rootHash, spec.platform.state);
        } catch (error) {
          return [{ what: `${name}: facts`, ok: false, evidence: (error as Error).message }];
        }
      }),
    );
    return checks.flat();
  },
};

function check(node: string, facts: NodeFacts, rootHash: string, state: string): GateCheck[] {
  const say = (value: boolean | string | undefined) => (value === undefined ? "could not be read" : String(value));
  return [
    { what: `${node}: Secure Boot enforced`, ok: facts.secureBoot === true, evidence: say(facts.secureBoot) },
    { what: `${node}: firmware out of setup mode`, ok: facts.setupMode === false, evidence: say(facts.setupMode) },
    {
      what: `${node}: kernel lockdown`,
      ok: facts.lockdown === "integrity" || facts.lockdown === "confidentiality",
      evidence: say(facts.lockdown),
    },
    { what: `${node}: TPM present`, ok: facts.tpm === true, evidence: say(facts.tpm) },
    { what: `${node}: root hash as manufactured`, ok: facts.rootHash === rootHash, evidence: say(facts.rootHash) },
    { what: `${node}: state ${state}`, ok: facts.state === state, evidence: say(facts.state) },
  ];
}

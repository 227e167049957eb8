import type { NodeFacts } from "../../../shared/events.ts";
import { pkiPurposes } from "../../../shared/pki.ts";
import type { Gate, GateCheck } from "./types.ts";

const timeoutMs = 30_000;

/** Every node has a certificate of every purpose, from the cluster's own authority and valid by the node's clock. */
export const certificatesGate: Gate = {
  name: "certificates",
  summary: "every node's certificates are of this cluster and in date",
  async run({ layer, observer }) {
    const checks = await Promise.all(
      layer.nodes.map(async ({ name }): Promise<GateCheck[]> => {
        try {
          return check(name, (await observer.ask(name, { command: "facts" }, timeoutMs)) as NodeFacts);
        } catch (error) {
          return [{ what: `${name}: certificates`, ok: false, evidence: (error as Error).message }];
        }
      }),
    );
    return checks.flat();
  },
};

function check(node: string, facts: NodeFacts): GateCheck[] {
  return pkiPurposes.map((purpose) => {
    const found = facts.certificates?.find((certificate) => certificate.purpose === purpose);
    const evidence =
      found === undefined
        ? "the node has none"
        : `${found.valid ? "valid" : "NOT VALID"}, from ${found.notBefore} to ${found.notAfter}`;
    return { what: `${node}: ${purpose} certificate`, ok: found?.valid === true, evidence };
  });
}

import { scanMatrix } from "./firewall.ts";
import type { Gate } from "./types.ts";

/**
 * The whole matrix: every service and every usual port, from every node to every other, on every interface. Reachable
 * where the spec says so, refused (planes) or silent (underlay) elsewhere.
 */
export const isolationGate: Gate = {
  name: "isolation",
  summary: "every node reaches every other's services on the planes of the spec, and nowhere else",
  async run(context) {
    const { layer } = context;
    if (layer.nodes.length < 2) return [{ what: "scan", ok: false, evidence: "needs a second node to scan from" }];
    return scanMatrix(context, (scanner) => layer.nodes.filter((node) => node.name !== scanner.name));
  },
};

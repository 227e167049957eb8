import type { Finding } from "../finding.ts";
import { formatIpv4Network, networkOf, parseIpv4Network, prefixFor } from "../ipv4.ts";
import { type Constraint, placementFields } from "./types.ts";

/** Every plane has an address for every index, and the control plane one for every operator besides. */
export const planeSize: Constraint = {
  name: "plane-size",
  reads: [...placementFields, "planes.cidr", "planes.purpose", "trust.operators"],
  check(view) {
    const { spec } = view;
    const highestIndex = spec.nodes.reduce((highest, node) => Math.max(highest, node.index), 0);
    const highestSlot = spec.trust.operators.reduce((highest, operator) => Math.max(highest, operator.slot), 0);
    return spec.planes.flatMap((plane, i): Finding[] => {
      const network = parseIpv4Network(plane.cidr);
      const slots = plane.purpose === "control" ? highestSlot : 0;
      const needed = highestIndex + slots;
      if (network === undefined || network.prefix > 30) return [];
      const usable = network.last - network.first - 1;
      if (needed <= usable) return [];
      const whom = `index ${highestIndex} is the highest${slots > 0 ? ` and operators take ${slots} from the end` : ""}`;
      const prefix = prefixFor(needed);
      return [
        {
          path: ["planes", i, "cidr"],
          message: `plane \`${plane.name}\` (${plane.cidr}) has ${usable} addresses, but needs ${needed}: ${whom}`,
          hint:
            prefix < 8
              ? "use smaller indexes"
              : `write a larger network, e.g. \`${formatIpv4Network(networkOf(network.first, prefix))}\``,
        },
      ];
    });
  },
};

import type { Finding } from "../finding.ts";
import { specLimits } from "../schema/fields.ts";
import type { Constraint } from "./types.ts";

const roleFields = [
  "nodes.role",
  "nodes.roles",
  "pools.role",
  "pools.roles",
  "pools.count",
  "nodes.name",
  "pools.name",
];

/** There are nodes, and not more than the limit. */
export const nodeCount: Constraint = {
  name: "node-count",
  reads: ["nodes.name", "pools.name", "pools.count"],
  check({ spec, tooManyNodes }) {
    if (tooManyNodes) {
      const message = `the spec asks for more than ${specLimits.nodesMax} nodes`;
      return [{ path: ["pools"], message, hint: "make several clusters of it" }];
    }
    if (spec.nodes.length > 0) return [];
    return [
      { path: ["nodes"], message: "the cluster has no nodes", hint: "write `nodes: [{ name: hub, role: hub }]`" },
    ];
  },
};

/** One role field, not two. */
export const oneRoleField: Constraint = {
  name: "one-role-field",
  reads: ["nodes.role", "nodes.roles", "pools.role", "pools.roles"],
  check: ({ written }) =>
    (["nodes", "pools"] as const).flatMap((list) =>
      written[list].flatMap((machine, i): Finding[] =>
        machine.role === undefined || machine.roles === undefined
          ? []
          : [
              {
                path: [list, i, "role"],
                key: true,
                message: `\`${list}[${i}]\` has both \`role\` and \`roles\``,
                hint: `write \`roles: [${[...new Set([machine.role, ...machine.roles])].join(", ")}]\` only`,
              },
            ],
      ),
    ),
};

/** At least one hub: operators, time and enrollment come through it. */
export const hubExists: Constraint = {
  name: "hub-exists",
  reads: roleFields,
  check({ spec }) {
    if (spec.nodes.length === 0 || spec.nodes.some((node) => node.roles.includes("hub"))) return [];
    const path = spec.nodes.length > 0 ? ["nodes"] : [];
    return [
      { path, message: "no node has the role `hub`", hint: "give one node `role: hub`: operators enter through it" },
    ];
  },
};

/** Core nodes hold the quorum: an even number survives no more failures than one less, and can split in halves. */
export const oddQuorum: Constraint = {
  name: "odd-quorum",
  reads: roleFields,
  check(view) {
    const cores = view.spec.nodes.flatMap((node, i) => (node.roles.includes("core") ? [i] : []));
    if (cores.length % 2 === 1 || cores.length === 0) return [];
    return [
      {
        path: view.origins[cores.at(-1)!]!,
        message: `${cores.length} nodes have the role \`core\`: an even number keeps no quorum when it splits in halves`,
        hint: `use ${cores.length - 1} or ${cores.length + 1} core nodes`,
      },
    ];
  },
};

/** Above this, a full mesh costs each node more in peers and keepalives than the network is worth. */
const meshMax = 1000;

/** A full mesh has at most 1,000 nodes. */
export const meshSize: Constraint = {
  name: "mesh-size",
  reads: ["nodes.name", "pools.name", "pools.count", "planes.topology", "planes.name"],
  check({ spec }) {
    const count = spec.nodes.length;
    if (count <= meshMax) return [];
    return spec.planes.flatMap((plane, i): Finding[] =>
      plane.topology === "hub"
        ? []
        : [
            {
              path: ["planes", i, "topology"],
              message: `plane \`${plane.name}\` is a full mesh of ${count} nodes: ${(count * (count - 1)) / 2} pairs; at most ${meshMax} nodes are allowed`,
              hint: "write `topology: hub`: nodes then talk through the hubs",
            },
          ],
    );
  },
};

/** Exactly one control plane, and no purpose that features bind to twice. */
export const planePurposes: Constraint = {
  name: "plane-purposes",
  reads: ["planes.purpose", "planes.name"],
  check({ spec }) {
    const findings: Finding[] = [];
    const first = new Map<string, number>();
    for (const [i, plane] of spec.planes.entries()) {
      const other = first.get(plane.purpose);
      if (other === undefined) first.set(plane.purpose, i);
      else if (plane.purpose !== "custom" && plane.purpose !== "storage") {
        findings.push({
          path: ["planes", i, "purpose"],
          message: `plane \`${plane.name}\` has the purpose \`${plane.purpose}\`, which plane \`${spec.planes[other]!.name}\` has already`,
          hint: "write `purpose: custom`: services are bound to one plane of a purpose",
        });
      }
    }
    if (!first.has("control")) {
      const hint = "give one plane `purpose: control`: SSH, the agent and operators live there";
      findings.push({ path: ["planes"], message: "no plane has the purpose `control`", hint });
    }
    return findings;
  },
};

import { type Finding, formatPath, type Path } from "../finding.ts";
import { show } from "../issues.ts";
import type { Constraint } from "./types.ts";

const longestLabel = 63;
const label = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const reservedNames = new Set(["localhost", "localdomain"]);

/** Cluster, nodes, pools, operators and services have RFC 1123 labels as names. */
export const labels: Constraint = {
  name: "labels",
  reads: ["metadata.name", "nodes.name", "pools.name", "pools.count", "trust.operators", "policy.openings"],
  check({ written }) {
    const findings = checkLabel(["metadata", "name"], written.metadata.name);
    for (const [i, node] of written.nodes.entries()) findings.push(...checkLabel(["nodes", i, "name"], node.name));
    for (const [i, pool] of written.pools.entries()) {
      findings.push(...checkLabel(["pools", i, "name"], pool.name, `-${pool.count}`.length));
    }
    for (const [i, operator] of written.trust.operators.entries()) {
      findings.push(...checkLabel(["trust", "operators", i, "name"], operator.name));
    }
    for (const [i, opening] of written.policy.openings.entries()) {
      findings.push(...checkLabel(["policy", "openings", i, "service"], opening.service));
    }
    return findings;
  },
};

/** @see https://www.rfc-editor.org/rfc/rfc1123#section-2 */
function checkLabel(path: Path, name: string, suffixLength = 0): Finding[] {
  const what = `\`${formatPath(path)}\` is ${show(name)}`;
  if (name.length + suffixLength > longestLabel) {
    const most = longestLabel - suffixLength;
    const why = suffixLength > 0 ? `, which leaves no room for the number in ${longestLabel} characters` : "";
    return [{ path, message: `${what}, ${name.length} characters long${why}`, hint: `use at most ${most} characters` }];
  }
  if (!label.test(name)) {
    const right = asLabel(name).slice(0, longestLabel - suffixLength);
    const rule = "use a-z, 0-9 and `-`, and neither start nor end with `-`";
    return [{ path, message: `${what}, not an RFC 1123 label`, hint: right === "" ? rule : `${rule}: \`${right}\`` }];
  }
  if (reservedNames.has(name))
    return [{ path, message: `${what}, which every machine has already`, hint: "use another name" }];
  return [];
}

function asLabel(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");
}

/** Longest interface name that Linux takes (IFNAMSIZ − 1). */
const longestInterface = 15;
/** Names that the machine's other interfaces have, and words with a meaning of their own in the system's files. */
const reservedInterfaces =
  /^(lo|all|default|underlay|host0|kdop|(eth|en|wl|ww|veth|tap|tun|br|bond|dummy|docker|vnet)\d.*|en[ospxv]\w*)$/;

/** Plane names can be interface names. */
export const interfaceNames: Constraint = {
  name: "interface-names",
  reads: ["planes.name"],
  check: ({ written }) =>
    written.planes.flatMap((plane, i): Finding[] => {
      const path = ["planes", i, "name"];
      const what = `\`${formatPath(path)}\` is ${show(plane.name)}`;
      if (plane.name.length > longestInterface) {
        const message = `${what}, ${plane.name.length} characters long; an interface name has at most ${longestInterface}`;
        return [{ path, message, hint: `write a shorter one, e.g. \`wg${i + 1}\`` }];
      }
      if (!/^[a-z][a-z0-9-]*$/.test(plane.name)) {
        const hint = `start with a-z and use a-z, 0-9 and \`-\`, e.g. \`wg${i + 1}\``;
        return [{ path, message: `${what}, not a valid interface name`, hint }];
      }
      if (!reservedInterfaces.test(plane.name)) return [];
      return [{ path, message: `${what}, a name that is used for something else`, hint: `write e.g. \`wg${i + 1}\`` }];
    }),
};

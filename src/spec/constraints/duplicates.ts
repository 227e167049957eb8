import { type Finding, formatPath, type Path } from "../finding.ts";
import { printable } from "../issues.ts";
import { type Constraint, nodeName, nodePath, type SpecView } from "./types.ts";

/** Names are unique among nodes and operators; indexes among nodes. */
export const uniqueNodes: Constraint = {
  name: "unique-nodes",
  reads: ["nodes.name", "nodes.index", "pools.name", "pools.count", "pools.firstIndex", "trust.operators"],
  check(view) {
    const names = new Map<string, number>();
    const indexes = new Map<number, number>();
    const findings: Finding[] = [];
    for (const [i, node] of view.spec.nodes.entries()) {
      const sameName = names.get(node.name);
      if (sameName === undefined) names.set(node.name, i);
      else findings.push(duplicateName(view, i, sameName));
      const sameIndex = indexes.get(node.index);
      if (sameIndex === undefined) indexes.set(node.index, i);
      else if (sameName === undefined) {
        findings.push({
          path: nodePath(view, i, "index", "firstIndex"),
          message: `${nodeName(view, i)} has index ${node.index}, which ${nodeName(view, sameIndex)} has already`,
          hint: "give it a free index, or leave it out",
        });
      }
    }
    for (const [i, operator] of view.spec.trust.operators.entries()) {
      const node = names.get(operator.name);
      if (node === undefined) continue;
      const message = `operator \`${printable(operator.name)}\` has the name of ${nodeName(view, node)}`;
      findings.push({ path: ["trust", "operators", i, "name"], message, hint: "give one of them another name" });
    }
    return findings;
  },
};

function duplicateName(view: SpecView, i: number, other: number): Finding {
  return {
    path: nodePath(view, i, "name", "name"),
    message: `${nodeName(view, i)} has the same name as ${view.origins[i] === view.origins[other] ? "another" : nodeName(view, other)}`,
    hint: "give it another name",
  };
}

/** Everything else of which there is only one of a kind. */
export const uniqueItems: Constraint = {
  name: "unique-items",
  reads: [
    "planes",
    "platform",
    "targets",
    "trust.operators",
    "policy.openings",
    "acceptance.gates",
    "nodes.roles",
    "pools.roles",
    "underlay.dns",
  ],
  check({ spec, written }) {
    const { platform } = written;
    const findings = [
      ...repeated(
        ["planes"],
        "name",
        spec.planes.map((plane) => plane.name),
      ),
      ...repeated(
        ["planes"],
        "port",
        spec.planes.map((plane) => plane.port),
      ),
      ...repeated(["platform", "features"], undefined, platform.features ?? []),
      ...repeated(["platform", "packages"], undefined, platform.packages),
      ...repeated(
        ["platform", "python"],
        "prefix",
        platform.python.map((one) => one.prefix),
      ),
      ...repeated(
        ["platform", "blobs"],
        "name",
        spec.platform.blobs.map((one) => one.name),
      ),
      ...repeated(
        ["platform", "images"],
        "reference",
        spec.platform.images.map((one) => one.reference),
      ),
      ...repeated(
        ["platform", "sources"],
        "name",
        platform.sources.map((one) => one.name),
      ),
      ...repeated(["platform", "mirror"], undefined, platform.mirror),
      ...repeated(
        ["platform", "files"],
        "path",
        platform.files.map((file) => file.path),
      ),
      ...repeated(["underlay", "dns"], undefined, written.underlay.dns),
      ...repeated(["targets"], undefined, written.targets),
      ...repeated(
        ["trust", "operators"],
        "name",
        spec.trust.operators.map((operator) => operator.name),
      ),
      ...repeated(
        ["trust", "operators"],
        "slot",
        spec.trust.operators.map((operator) => operator.slot),
      ),
      ...repeated(["acceptance", "gates"], undefined, written.acceptance.gates ?? []),
      ...repeated(
        ["policy", "openings"],
        "port",
        spec.policy.openings.map((one) => `${one.plane} ${one.protocol}/${one.port}`),
      ),
    ];
    for (const list of ["nodes", "pools"] as const) {
      for (const [i, machine] of written[list].entries()) {
        if (machine.roles !== undefined) findings.push(...repeated([list, i, "roles"], undefined, machine.roles));
      }
    }
    return findings;
  },
};

function repeated(list: Path, field: string | undefined, values: readonly (string | number)[]): Finding[] {
  const first = new Map<string | number, number>();
  const findings: Finding[] = [];
  for (const [i, value] of values.entries()) {
    const other = first.get(value);
    if (other === undefined) {
      first.set(value, i);
      continue;
    }
    const at = (position: number) => [...list, position, ...(field === undefined ? [] : [field])];
    findings.push({
      path: at(i),
      message: `\`${formatPath(at(i))}\`: ${printable(String(value))} is already used by \`${formatPath([...list, other])}\``,
      hint: field === undefined ? "remove one of the two" : `give one of them another ${field}`,
    });
  }
  return findings;
}

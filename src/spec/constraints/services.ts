import { features } from "../../features/registry.ts";
import type { FeatureOpening } from "../../features/types.ts";
import type { Finding } from "../finding.ts";
import { formatIpv4, parseIpv4, parseIpv4Network, planeOfAddress } from "../ipv4.ts";
import { show } from "../issues.ts";
import { featureNames, type Spec } from "../types.ts";
import { type Constraint, nodeName, placementFields, type SpecView } from "./types.ts";

const roleFields = ["nodes.role", "nodes.roles", "pools.role", "pools.roles", "pools.count"] as const;
const etcdMost = 7;

/** etcd has members, and no more than its makers advise. */
export const etcdMembers: Constraint = {
  name: "etcd-members",
  reads: ["platform.features", "nodes.name", "pools.name", ...roleFields],
  check({ spec }) {
    if (!spec.platform.features.includes("etcd")) return [];
    const path = ["platform", "features"];
    const cores = spec.nodes.filter((node) => node.roles.includes("core")).length;
    if (cores === 0) {
      const hint = "give three nodes `role: core`, or leave `etcd` out";
      return [{ path, message: "feature `etcd` runs on nodes of role `core`, and there are none", hint }];
    }
    if (cores <= etcdMost) return [];
    const message = `feature \`etcd\` would have ${cores} members; writes get slower with each, and more than ${etcdMost} are of no use`;
    return [{ path, message, hint: "use 3 or 5 nodes of role `core`, and `worker` for the others" }];
  },
};

/** Nodes that make their own keys have Salt to make them for, and a place to keep them. */
export const enrollment: Constraint = {
  name: "enrollment",
  reads: ["platform.features", "platform.salt", "platform.state"],
  check({ spec: { platform } }) {
    if (platform.salt.enrollment !== "join") return [];
    const path = ["platform", "salt", "enrollment"];
    if (!platform.features.includes("salt")) {
      const hint = "add `salt` to `platform.features`, or remove this";
      return [
        { path, message: "`platform.salt.enrollment: join` is for the feature `salt`, which is not chosen", hint },
      ];
    }
    if (platform.state !== "volatile") return [];
    const message =
      "with `enrollment: join` a node keeps its own key, and `platform.state: volatile` forgets it at each boot";
    return [{ path, message, hint: "write `state: encrypted`, or `enrollment: preseed`" }];
  },
};

/** What is to be closed has the feature that closes it. */
export const baseline: Constraint = {
  name: "baseline",
  reads: ["platform.features", "platform.security"],
  check({ spec: { platform } }) {
    if (platform.security.usbStorage || platform.features.includes("security")) return [];
    const message = "`platform.security.usbStorage: false` is for the feature `security`, which is not chosen";
    const hint = "add `security` to `platform.features`, or remove this";
    return [{ path: ["platform", "security", "usbStorage"], message, hint }];
  },
};

/** The virtual address is wanted and described, or neither; there are nodes to hold it and to serve behind it. */
export const edge: Constraint = {
  name: "edge",
  reads: ["platform.features", "platform.edge", "trust.operators", "planes", ...placementFields, ...roleFields],
  check(view) {
    const { spec } = view;
    const { edge: wanted, features: chosen } = spec.platform;
    const path = ["platform", "edge"];
    if (wanted === undefined) {
      if (!chosen.includes("edge")) return [];
      const hint = "write `edge: { vip: ADDRESS, services: [{ name: NAME, port: PORT }] }` beside it";
      return [{ path: ["platform", "features"], message: "feature `edge` needs `platform.edge`", hint }];
    }
    if (!chosen.includes("edge")) {
      const hint = "add `edge` to `platform.features`, or remove this";
      return [{ path, key: true, message: "`platform.edge` is for the feature `edge`, which is not chosen", hint }];
    }
    const holders = spec.nodes.filter((node) => node.roles.includes("edge")).length;
    const few: Finding[] =
      holders >= 2
        ? []
        : [
            {
              path,
              key: true,
              message: `a virtual address moves between nodes of role \`edge\`; there ${holders === 1 ? "is one" : "are none"}`,
              hint: "give two nodes `role: edge`",
            },
          ];
    return [...few, ...vipFindings(view, wanted.vip), ...serviceFindings(view, wanted)];
  },
};

function vipFindings(view: SpecView, vip: string): Finding[] {
  const { spec } = view;
  const path = ["platform", "edge", "vip"];
  const address = parseIpv4(vip);
  if (address === undefined) {
    return [{ path, message: `the virtual address ${show(vip)} is not an IPv4 address`, hint: "e.g. `10.103.0.200`" }];
  }
  const plane = planeOfAddress(spec.planes, vip);
  const served = spec.planes.filter(({ purpose }) => purpose !== "custom" && purpose !== "storage");
  if (plane === undefined || !served.includes(plane)) {
    const where =
      plane === undefined ? "on no plane" : `on plane \`${plane.name}\`, which has the purpose \`${plane.purpose}\``;
    const hint = `use a free address of ${served.map(({ name, cidr }) => `${name} (${cidr})`).join(" or ")}`;
    return [{ path, message: `the virtual address ${vip} is ${where}`, hint }];
  }
  const network = parseIpv4Network(plane.cidr)!;
  const node = spec.nodes.findIndex((candidate) => network.first + candidate.index === address);
  if (node !== -1) {
    const message = `the virtual address ${vip} is also the address of ${nodeName(view, node)} on ${plane.name}`;
    return [{ path, message, hint: `use a free address, e.g. \`${formatIpv4(network.last - 55)}\`` }];
  }
  const operator = spec.trust.operators.find(
    ({ slot }) => plane.purpose === "control" && network.last - slot === address,
  );
  if (operator === undefined) return [];
  const message = `the virtual address ${vip} is also the address of operator \`${operator.name}\``;
  return [{ path, message, hint: "use an address that is further from the end of the range" }];
}

function serviceFindings(view: SpecView, wanted: NonNullable<Spec["platform"]["edge"]>): Finding[] {
  const { spec } = view;
  const purpose = planeOfAddress(spec.planes, wanted.vip)?.purpose;
  const names = new Map<string, number>();
  const ports = new Map<number, number>();
  const chosen = spec.platform.features.flatMap((name): readonly FeatureOpening[] => features[name].openings);
  return wanted.services.flatMap((service, i): Finding[] => {
    const path = ["platform", "edge", "services", i];
    const findings: Finding[] = [];
    const sameName = names.get(service.name);
    const samePort = ports.get(service.port);
    names.set(service.name, sameName ?? i);
    ports.set(service.port, samePort ?? i);
    if (sameName !== undefined) {
      const message = `\`platform.edge.services[${i}]\` has the name \`${service.name}\`, which \`services[${sameName}]\` has already`;
      findings.push({ path: [...path, "name"], message, hint: "give it another name" });
    }
    if (samePort !== undefined) {
      const message = `\`platform.edge.services[${i}]\` has the port ${service.port}, which \`services[${samePort}]\` has already`;
      findings.push({ path: [...path, "port"], message, hint: "give it another port" });
    }
    const onPort = (one: FeatureOpening) =>
      one.protocol === "tcp" && one.port === service.port && one.plane === purpose;
    const taken = nodeOpenings.find((one) => onPort(one) && onEdge(one));
    if (taken !== undefined) {
      const message = `\`platform.edge.services[${i}]\`: ${service.port}/tcp on that plane belongs to \`${taken.service}\` of every node`;
      findings.push({ path: [...path, "port"], message, hint: "use another port" });
    }
    // Who listens there, beside the balancers: what they balance, and services of the chosen features.
    const listening = new Set<string>([
      ...(service.port === service.targetPort ? [service.role] : []),
      ...chosen.filter(onPort).flatMap(({ roles = [] }) => roles),
    ]);
    const both = spec.nodes.findIndex(
      ({ roles }) => roles.includes("edge") && roles.some((role) => listening.has(role)),
    );
    if (taken === undefined && both !== -1) {
      const message = `\`platform.edge.services[${i}]\`: on ${nodeName(view, both)} ${service.port}/tcp belongs to a service of its other roles`;
      const hint = "use another port, or give `edge` to nodes without these roles";
      findings.push({ path: [...path, "port"], message, hint });
    }
    if (!spec.nodes.some((node) => node.roles.includes(service.role))) {
      const message = `\`platform.edge.services[${i}]\` is served by nodes of role \`${service.role}\`, and there are none`;
      findings.push({
        path: "role" in service ? [...path, "role"] : path,
        message,
        hint: "name a role that nodes have",
      });
    }
    return findings;
  });
}

const nodeOpenings: readonly FeatureOpening[] = featureNames.flatMap(
  (name): readonly FeatureOpening[] => features[name].openings,
);

function onEdge(opening: FeatureOpening): boolean {
  return opening.roles === undefined || opening.roles.includes("edge");
}

/** A gate proves a feature: without that there is nothing to check, and the gate could only fail. */
export const gateFeatures: Constraint = {
  name: "gate-features",
  reads: ["acceptance.gates", "platform.features"],
  check({ spec }) {
    const chosen = new Set(spec.platform.features);
    return spec.acceptance.gates.flatMap((gate, i): Finding[] => {
      const proves = featureNames.filter((name) => (features[name].gates as readonly string[]).includes(gate));
      if (proves.length === 0 || proves.some((name) => chosen.has(name))) return [];
      const message = `the gate \`${gate}\` proves feature \`${proves.join("`, `")}\`, which is not chosen`;
      const hint = `add \`${proves[0]}\` to \`platform.features\`, or remove the gate`;
      return [{ path: ["acceptance", "gates", i], message, hint }];
    });
  },
};

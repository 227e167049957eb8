import { features } from "../../features/registry.ts";
import type { FeatureOpening } from "../../features/types.ts";
import { featureNeeds, requiredFeatures } from "../feature-needs.ts";
import type { Finding } from "../finding.ts";
import { pairGates } from "../normalise.ts";
import type { FeatureName } from "../types.ts";
import type { Constraint } from "./types.ts";

/** The list of features holds all that its members, and every node, need. */
export const featureClosure: Constraint = {
  name: "feature-closure",
  reads: ["platform.features"],
  check({ spec }) {
    const listed = new Set<FeatureName>(spec.platform.features);
    const wanted = new Set<FeatureName>([...listed, ...requiredFeatures]);
    // A set grows while it is iterated: this walks the needs of needs too.
    for (const name of wanted) for (const need of featureNeeds[name]) wanted.add(need);
    const missing = [...wanted].filter((name) => !listed.has(name)).toSorted();
    if (missing.length === 0) return [];
    const reasons = missing.map((name) => {
      const needing = [...listed].filter((other) => featureNeeds[other].some((need) => need === name)).toSorted();
      return `\`${name}\` (needed by ${needing.length === 0 ? "every node" : needing.join(", ")})`;
    });
    return [
      {
        path: ["platform", "features"],
        message: `\`platform.features\` lacks ${reasons.join(", ")}`,
        hint: `write \`[${[...wanted].toSorted().join(", ")}]\`, or leave the field out`,
      },
    ];
  },
};

/** Each feature finds a plane of the purpose that its services are bound to. */
export const featurePlanes: Constraint = {
  name: "feature-planes",
  reads: ["platform.features", "planes.purpose"],
  check({ spec }) {
    const purposes = new Set<string>(spec.planes.map((plane) => plane.purpose));
    return spec.platform.features.flatMap((name): Finding[] => {
      const planes = new Set(features[name].openings.map((opening): FeatureOpening["plane"] => opening.plane));
      return [...planes]
        .filter((plane) => plane !== "underlay" && plane !== "control" && !purposes.has(plane))
        .map((plane) => ({
          path: ["platform", "features"],
          message: `feature \`${name}\` serves on the plane with purpose \`${plane}\`, but there is none`,
          hint: `give a plane \`purpose: ${plane}\`, or leave \`${name}\` out of \`platform.features\``,
        }));
    });
  },
};

/** A gate can be met with this substrate, trust and number of nodes. */
export const possibleGatesOnly: Constraint = {
  name: "possible-gates",
  reads: ["acceptance.gates", "substrate", "trust.secureBoot", "nodes.name", "pools.name", "pools.count"],
  check: ({ spec }) =>
    spec.acceptance.gates.flatMap((gate, i): Finding[] => {
      const path = ["acceptance", "gates", i];
      const finding = (why: string, hint: string): Finding[] => [
        { path, message: `the gate \`${gate}\` cannot pass ${why}`, hint: `remove the gate, or ${hint}` },
      ];
      if (pairGates.includes(gate) && spec.nodes.length === 1) {
        return finding("with one node: it is checked from another one", "add a node");
      }
      if (gate === "ebpf" && spec.substrate.name === "nspawn") {
        return finding(
          "on the substrate `nspawn`: its containers have no kernel of their own",
          "write `substrate: { name: qemu }`",
        );
      }
      if (gate !== "sealed") return [];
      if (spec.substrate.name === "nspawn") {
        return finding(
          "on the substrate `nspawn`: its containers boot no sealed image",
          "write `substrate: { name: qemu }`",
        );
      }
      return spec.trust.secureBoot ? [] : finding("with `trust.secureBoot: false`", "write `secureBoot: true`");
    }),
};

/** What destroys is said twice: by the field that asks for it and by `policy.allowDestroy`. */
export const explicitDestroy: Constraint = {
  name: "explicit-destroy",
  reads: ["policy.onChange", "policy.allowDestroy", "install.wipe"],
  check({ spec }) {
    if (spec.policy.allowDestroy) return [];
    const findings: Finding[] = [];
    if (spec.policy.onChange === "replace") {
      findings.push({
        path: ["policy", "onChange"],
        message: "`policy.onChange: replace` destroys the state of machines, and `policy.allowDestroy` is not true",
        hint: "write `allowDestroy: true` beside it, or `onChange: refuse`",
      });
    }
    if (spec.install.wipe) {
      findings.push({
        path: ["install", "wipe"],
        message: "`install.wipe: true` destroys what is on a disk, and `policy.allowDestroy` is not true",
        hint: "write `policy: { allowDestroy: true }`, or `wipe: false`",
      });
    }
    return findings;
  },
};

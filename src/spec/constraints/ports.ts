import { repositoryOpening } from "../../features/repository/index.ts";
import { features } from "../../features/registry.ts";
import type { FeatureOpening } from "../../features/types.ts";
import { type Finding, formatPath } from "../finding.ts";
import { printable } from "../issues.ts";
import { wireguardOverheadBytes } from "../normalise.ts";
import { specLimits } from "../schema/fields.ts";
import { nearest } from "../suggest.ts";
import { featureNames, type Spec } from "../types.ts";
import type { Constraint } from "./types.ts";

/** What features serve. Taken whether or not the feature is chosen: it may be chosen later. */
const serviceOpenings: readonly FeatureOpening[] = [
  ...featureNames.flatMap((name): readonly FeatureOpening[] => features[name].openings),
  repositoryOpening,
];
const servicePorts = new Map(serviceOpenings.map((opening) => [opening.port, opening]));

/** A plane's port is not one that a service of the system has. */
export const planePorts: Constraint = {
  name: "plane-ports",
  reads: ["planes.port", "planes.name"],
  check: ({ spec }) =>
    spec.planes.flatMap((plane, i): Finding[] => {
      const taken = servicePorts.get(plane.port);
      if (taken === undefined) return [];
      const message = `plane \`${plane.name}\` uses port ${plane.port}, which belongs to \`${taken.service}\``;
      return [{ path: ["planes", i, "port"], message, hint: `write e.g. \`port: ${51_821 + i}\`` }];
    }),
};

/** Openings name a plane, never the underlay, and no port that is taken. */
export const openings: Constraint = {
  name: "openings",
  reads: ["policy.openings", "planes.name", "planes.port", "planes.purpose"],
  check: ({ spec }) =>
    spec.policy.openings.flatMap((opening, i) => [...checkPlane(spec, i), ...checkPort(spec, i, opening.port)]),
};

function checkPlane(spec: Spec, i: number): Finding[] {
  const written = spec.policy.openings[i]!.plane;
  const names = spec.planes.map((plane) => plane.name);
  if (names.includes(written)) return [];
  const path = ["policy", "openings", i, "plane"];
  const name = `\`${formatPath(path)}\``;
  if (written === "underlay") {
    const hint = `name a plane instead: ${names.join(", ")}`;
    return [{ path, message: `${name}: nothing but WireGuard listens on the underlay`, hint }];
  }
  const ofPurpose = spec.planes.find((plane) => plane.purpose === written)?.name ?? nearest(written, names);
  const hint =
    ofPurpose === undefined ? `write one of ${names.slice(0, 20).join(", ")}` : `did you mean \`${ofPurpose}\`?`;
  return [{ path, message: `${name}: there is no plane \`${printable(written)}\``, hint }];
}

function checkPort(spec: Spec, i: number, port: number): Finding[] {
  const opening = spec.policy.openings[i]!;
  const plane = spec.planes.find((candidate) => candidate.name === opening.plane);
  const path = ["policy", "openings", i, "port"];
  const taken = serviceOpenings.find(
    (one) => one.port === port && one.protocol === opening.protocol && one.plane === plane?.purpose,
  );
  if (taken !== undefined) {
    const message = `\`${formatPath(path)}\`: ${port}/${opening.protocol} on \`${opening.plane}\` belongs to \`${taken.service}\``;
    return [{ path, message, hint: "use another port" }];
  }
  const tunnel = opening.protocol === "udp" ? spec.planes.find((candidate) => candidate.port === port) : undefined;
  if (tunnel === undefined) return [];
  const message = `\`${formatPath(path)}\`: ${port}/udp is the port of plane \`${tunnel.name}\` itself`;
  return [{ path, message, hint: "use another port" }];
}

/** A plane's packets fit into the underlay's. */
export const planeMtu: Constraint = {
  name: "plane-mtu",
  reads: ["planes.mtu", "planes.name", "underlay.mtu"],
  check({ spec }) {
    const most = spec.underlay.mtu - wireguardOverheadBytes;
    return spec.planes.flatMap((plane, i): Finding[] => {
      if (plane.mtu <= most) return [];
      const message = `plane \`${plane.name}\` has an MTU of ${plane.mtu} bytes; with WireGuard's ${wireguardOverheadBytes} that is more than the underlay's ${spec.underlay.mtu}`;
      const hint = most >= specLimits.planeMtuMin ? `write at most ${most}` : "raise `underlay.mtu`";
      return [{ path: ["planes", i, "mtu"], message, hint }];
    });
  },
};

import type { PythonRequest } from "../lock/inputs.ts";
import type { FeatureName, GateName, RoleName, Spec } from "../spec/types.ts";

/** A file that a feature puts into the image. Owner is root:root. */
export interface ImageFile {
  /** Absolute path in the image. */
  path: string;
  mode: number;
  content: string | Uint8Array;
}

/**
 * Reads a text file of this project that goes into the image, by its path from the project's root, e.g.
 * `node/units/kubedos-agent.service` or `dist/agent.cjs`. `list` gives the paths of all files below a folder, sorted.
 */
export interface Assets {
  (relativePath: string): string;
  list(folder: string): string[];
}

/** A firewall opening; `plane` names a purpose of a plane (resolved against the spec) or the underlay. */
export interface FeatureOpening {
  service: string;
  plane: "control" | "observability" | "backend" | "underlay";
  protocol: "tcp" | "udp";
  port: number;
  from?: ("nodes" | "hub" | "operators")[];
  /** Only on nodes with one of these roles; absent: on all. */
  roles?: RoleName[];
}

/**
 * One à-la-carte part of the platform. Everything is a function of the spec, so that `plan` can show it and the
 * stage id covers it.
 */
export interface Feature {
  name: FeatureName;
  summary: string;
  /** Features that this one cannot work without; spec/feature-needs.ts has them all. */
  needs: readonly FeatureName[];
  packages(spec: Spec): string[];
  /** Python distributions, each set in a virtual environment of its own that also sees Debian's python3-* packages. */
  wheels?(spec: Spec): PythonRequest[];
  files(spec: Spec, assets: Assets): ImageFile[];
  /** systemd units by name. */
  units: { enable: readonly string[]; mask: readonly string[] };
  sysctls: Readonly<Record<string, string>>;
  /** Kernel modules loaded at boot (modules-load.d). */
  modules: readonly string[];
  openings: readonly FeatureOpening[];
  /** Openings that depend on the spec. */
  specOpenings?(spec: Spec): FeatureOpening[];
  /** Gates that prove the feature works: the default of `acceptance.gates`. */
  gates: readonly GateName[];
  /** False: only where the spec lists it. Default: every spec whose planes can carry it has it. */
  default?: boolean;
}

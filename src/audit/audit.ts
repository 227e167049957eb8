import { packageSections, type Lock, type LockedPackage, type PackageSection } from "../lock/types.ts";
import { bootImagePackages } from "../assemble/foundry-packages.ts";
import type { SecurityData, TrackedIssue } from "./tracker.ts";
import { compareVersions } from "./version.ts";

/** Where a package's files are: in a section of the lock, e.g. the nodes' root (`platform`), or in their initrd. */
export type Layer = PackageSection | "initrd";

export const severities = ["unimportant", "low", "medium", "high"] as const;
export type Severity = (typeof severities)[number];

/** One flaw of one installed package. */
export interface Vulnerability {
  cve: string;
  package: string;
  source: string;
  /** Version of the binary package in the lock. */
  installed: string;
  /** First version without it; absent: there is none yet. */
  fixed?: string;
  /** The tracker's own word, e.g. `not yet assigned`. */
  urgency: string;
  /** What it counts as: what nobody has judged yet counts as `medium`. */
  severity: Severity;
  /** Why Debian has no security update for it, e.g. `postponed`. */
  noUpdate?: string;
  layers: Layer[];
}

export interface AuditResult {
  vulnerabilities: Vulnerability[];
  /** Packages that were looked up. */
  checked: number;
  /** Inputs that the data says nothing about, for people. */
  notCovered: string[];
}

/** Matches a lock against the snapshot that it refers to. Pure. */
export function auditLock(lock: Lock, data: SecurityData): AuditResult {
  const found = new Map<string, Vulnerability>();
  const others = new Set<string>();
  let checked = 0;
  for (const part of packageSections) {
    for (const item of lock[part] ?? []) {
      if (!/^debian(-security)?$/.test(item.archive)) {
        others.add(`${item.name} ${item.version} of ${item.archive}`);
        continue;
      }
      checked++;
      for (const vulnerability of lookUp(item, part, data)) {
        const key = `${vulnerability.cve} ${item.name} ${item.version}`;
        const known = found.get(key);
        if (known === undefined) found.set(key, vulnerability);
        else known.layers = [...new Set([...known.layers, ...vulnerability.layers])];
      }
    }
  }
  return {
    vulnerabilities: [...found.values()].toSorted(mostSevereFirst),
    checked,
    notCovered: [
      ...[...others].toSorted(),
      ...(lock.wheels ?? []).map(({ name, version }) => `${name} ${version} (Python)`),
      ...(lock.blobs ?? []).map(({ name }) => `${name} (file)`),
      ...(lock.images ?? []).map(({ reference }) => `${reference} (image)`),
    ],
  };
}

function lookUp(item: LockedPackage, part: PackageSection, data: SecurityData): Vulnerability[] {
  const source = sourceOf(item);
  const issues = Object.entries(data.sources[source.name] ?? {});
  return issues
    .filter(([, issue]) => isVulnerable(source.version, issue))
    .map(([cve, { fixedVersion, urgency, noUpdate }]) => ({
      cve,
      package: item.name,
      source: source.name,
      installed: item.version,
      ...(fixedVersion === undefined ? {} : { fixed: fixedVersion }),
      urgency,
      severity: severityOf(urgency),
      ...(noUpdate === undefined ? {} : { noUpdate }),
      layers: layersOf(item.name, part),
    }));
}

/** Open and undetermined flaws count: nobody has said that this version is free of them. */
function isVulnerable(version: string, { status, fixedVersion }: TrackedIssue): boolean {
  if (fixedVersion !== undefined) return compareVersions(version, fixedVersion) < 0;
  return status !== "resolved";
}

/**
 * Source package and version: what the lock says where it is out of the ordinary, else the pool's directory and the
 * version without the mark of a rebuild. Debian signs kernels and boot loaders in packages of their own; the tracker
 * has their flaws under the source that they are built from.
 */
export function sourceOf(item: LockedPackage): { name: string; version: string } {
  const plain = { name: poolSource(item.path) ?? item.name, version: item.version.replace(/\+b\d+$/, "") };
  const { name, version } = item.source ?? plain;
  const signed = signedSources[name];
  return signed === undefined ? { name, version } : { name: signed, version: plain.version };
}

/** Directory below the pool, `pool/main/b/bash/…`; undefined for other layouts. */
export function poolSource(path: string): string | undefined {
  return /^pool\/(?:updates\/)?[^/]+\/[^/]+\/([^/]+)\/[^/]+$/.exec(path)?.[1];
}

const signedSources: Readonly<Record<string, string>> = {
  "linux-signed-amd64": "linux",
  "grub-efi-amd64-signed": "grub2",
  "shim-signed": "shim",
  "shim-helpers-amd64-signed": "shim",
  "fwupd-amd64-signed": "fwupd",
  "systemd-boot-efi-amd64-signed": "systemd",
};

function layersOf(name: string, part: PackageSection): Layer[] {
  const inInitrd = part === "platform" ? /^linux-image-\d/.test(name) : bootImagePackages.includes(name);
  return inInitrd ? [part, "initrd"] : [part];
}

/** https://security-tracker.debian.org/tracker/data/report: urgencies, some with a star for remote attacks. */
function severityOf(urgency: string): Severity {
  const word = urgency.replace(/\**$/, "");
  return severities.find((severity) => severity === word) ?? "medium";
}

/** Vulnerabilities at or above a severity. */
export function atLeast(list: readonly Vulnerability[], severity: Severity): Vulnerability[] {
  const floor = severities.indexOf(severity);
  return list.filter((one) => severities.indexOf(one.severity) >= floor);
}

function mostSevereFirst(a: Vulnerability, b: Vulnerability): number {
  return (
    severities.indexOf(b.severity) - severities.indexOf(a.severity) ||
    (a.package < b.package
      ? -1
      : a.package > b.package
        ? 1
        : compareVersions(a.cve.replaceAll("-", "."), b.cve.replaceAll("-", ".")))
  );
}

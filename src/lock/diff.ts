import { packageSections, type Lock, type LockedPackage } from "./types.ts";

/** One package whose pin differs between two locks. */
export interface ChangedPackage {
  name: string;
  from: LockedPackage;
  to: LockedPackage;
}

export interface PackageDiff {
  added: LockedPackage[];
  removed: LockedPackage[];
  /** Another version, or other bytes under the same version. */
  changed: ChangedPackage[];
}

/** What `lock --update` changed. */
export interface LockDiff {
  epoch?: { from: number; to: number };
  platform: PackageDiff;
  foundry: PackageDiff;
  machines: PackageDiff;
  shim: PackageDiff;
  netinst: PackageDiff;
  installer: PackageDiff;
  /** Every other input: a line of those that only one of the two locks has. */
  inputs: { added: string[]; removed: string[] };
}

/** Compares two locks. */
export function diffLocks(from: Lock, to: Lock): LockDiff {
  return {
    ...(from.epoch === to.epoch ? {} : { epoch: { from: from.epoch, to: to.epoch } }),
    platform: diffPackages(from.platform, to.platform),
    foundry: diffPackages(from.foundry, to.foundry),
    machines: diffPackages(from.machines ?? [], to.machines ?? []),
    shim: diffPackages(from.shim ?? [], to.shim ?? []),
    netinst: diffPackages(from.netinst ?? [], to.netinst ?? []),
    installer: diffPackages(from.installer ?? [], to.installer ?? []),
    inputs: diffLines(inputLines(from), inputLines(to)),
  };
}

/** Lines of two lists that only one of them has. */
export function diffLines(from: readonly string[], to: readonly string[]): { added: string[]; removed: string[] } {
  return {
    added: to.filter((line) => !from.includes(line)),
    removed: from.filter((line) => !to.includes(line)),
  };
}

function inputLines({
  requested,
  wheels = [],
  blobs = [],
  images = [],
  thirdParty = [],
  securityData,
}: Lock): string[] {
  const short = (sha256: string) => `sha256:${sha256.slice(0, 12)}`;
  return [
    ...(requested.python ?? []).map(({ prefix, requirements, without = [] }) => {
      const left = without.length === 0 ? "" : ` without ${without.join(", ")}`;
      return `${prefix}: ${requirements.join(", ")}${left}`;
    }),
    ...wheels.map(({ prefix, name, version, filename, sha256, buildOf }) => {
      const place = buildOf === undefined ? prefix : `to build ${buildOf}`;
      return `${name} ${version} in ${place}: ${filename} ${short(sha256)}`;
    }),
    ...blobs.map(({ name, sha256, path, mode }) => {
      const place = path === undefined ? "" : ` as ${path} ${(mode ?? 0o644).toString(8)}`;
      return `${name}${place} ${short(sha256)}`;
    }),
    ...images.map(({ reference, manifest }) => `${reference} ${short(manifest.sha256)}`),
    ...thirdParty.map(({ name, fingerprints }) => `source ${name}, signed by ${fingerprints.join(", ")}`),
    ...(securityData === undefined
      ? []
      : [`security data of ${date(securityData.date)} ${short(securityData.sha256)}`]),
  ];
}

/** Whether the two locks pin the same inputs at the same epoch. */
export function isSameLock(diff: LockDiff): boolean {
  const parts = packageSections.map((part) => diff[part]);
  return (
    diff.epoch === undefined &&
    diff.inputs.added.length + diff.inputs.removed.length === 0 &&
    parts.every((part) => part.added.length + part.removed.length + part.changed.length === 0)
  );
}

/** The difference for people: one line a package, `+` added, `-` removed, `~` changed. */
export function formatLockDiff(diff: LockDiff): string {
  if (isSameLock(diff)) return "nothing changed\n";
  const lines: string[] = [];
  if (diff.epoch !== undefined) lines.push(`epoch ${date(diff.epoch.from)} -> ${date(diff.epoch.to)}`);
  for (const part of packageSections) {
    const { added, removed, changed } = diff[part];
    if (added.length + removed.length + changed.length === 0) continue;
    lines.push(`${part}: ${added.length} added, ${removed.length} removed, ${changed.length} changed`);
    const entries = [
      ...added.map((entry) => ({ name: entry.name, line: `  + ${entry.name} ${entry.version}` })),
      ...removed.map((entry) => ({ name: entry.name, line: `  - ${entry.name} ${entry.version}` })),
      ...changed.map(({ name, from, to }) => ({ name, line: `  ~ ${name} ${describeChange(from, to)}` })),
    ];
    lines.push(...entries.toSorted((a, b) => (a.name < b.name ? -1 : 1)).map((entry) => entry.line));
  }
  const { added, removed } = diff.inputs;
  if (added.length + removed.length > 0) lines.push(`other inputs: ${added.length} added, ${removed.length} removed`);
  lines.push(...added.map((line) => `  + ${line}`), ...removed.map((line) => `  - ${line}`));
  return `${lines.join("\n")}\n`;
}

function diffPackages(from: readonly LockedPackage[], to: readonly LockedPackage[]): PackageDiff {
  const before = new Map(from.map((entry) => [entry.name, entry]));
  const after = new Map(to.map((entry) => [entry.name, entry]));
  return {
    added: to.filter((entry) => !before.has(entry.name)),
    removed: from.filter((entry) => !after.has(entry.name)),
    changed: to.flatMap((entry) => {
      const old = before.get(entry.name);
      return old === undefined || old.sha256 === entry.sha256 ? [] : [{ name: entry.name, from: old, to: entry }];
    }),
  };
}

function describeChange(from: LockedPackage, to: LockedPackage): string {
  if (from.version !== to.version) return `${from.version} -> ${to.version}`;
  return `${to.version}: same version, other bytes (${from.sha256.slice(0, 12)} -> ${to.sha256.slice(0, 12)})`;
}

function date(seconds: number): string {
  return new Date(seconds * 1000).toISOString().slice(0, 19) + "Z";
}

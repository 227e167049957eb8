import { createHash } from "node:crypto";
import { installedPackages } from "./dpkg.ts";
import type { Erofs, ErofsEntry } from "./erofs.ts";
import type { Output } from "./output.ts";

/** What is on one side only, and what is on both and differs. */
export interface Difference<T, C> {
  added: T[];
  removed: T[];
  changed: C[];
}

/** A file of the root, as far as it can differ. */
export interface FileFacts {
  path: string;
  type: ErofsEntry["type"];
  /** Octal, e.g. `0644`. */
  mode: string;
  owner: string;
  sizeBytes: number;
  /** Of a file. */
  sha256?: string;
  /** Of a link. */
  target?: string;
}

export interface OutputDiff {
  /** All that is compared here is the same, root and boot image bit for bit. */
  same: boolean;
  packages: Difference<{ name: string; version: string }, { name: string; from: string; to: string }>;
  /** Undefined where one side has no artifact to look into. */
  files?: Difference<FileFacts, { path: string; from: FileFacts; to: FileFacts }>;
  /** systemd units, with what was done to them: `enabled` or `masked`. */
  units?: Difference<string, never>;
  /** Package of the kernel with its version. */
  kernel?: { from: string; to: string };
  commandLine?: { from: string; to: string };
  /** Openings of the firewall, as `service plane protocol/port …`. */
  openings?: Difference<string, never>;
  nodes?: Difference<string, string>;
  features: Difference<string, never>;
  sizes: { what: string; from?: number; to?: number }[];
}

/** Compares what two builds have put out. */
export function diffOutputs(from: Output, to: Output): OutputDiff {
  const [before, after] = [packagesOf(from), packagesOf(to)];
  const sameRoot = from.manifest.platform.root.sha256 === to.manifest.platform.root.sha256;
  const readable = from.root !== undefined && to.root !== undefined;
  const rest: Omit<OutputDiff, "same"> = {
    packages: {
      added: [...after].filter(([name]) => !before.has(name)).map(([name, version]) => ({ name, version })),
      removed: [...before].filter(([name]) => !after.has(name)).map(([name, version]) => ({ name, version })),
      changed: [...after].flatMap(([name, version]) => {
        const old = before.get(name);
        return old === undefined || old === version ? [] : [{ name, from: old, to: version }];
      }),
    },
    ...(sameRoot
      ? { files: { added: [], removed: [], changed: [] }, units: { added: [], removed: [], changed: [] } }
      : readable
        ? { files: diffFiles(from.root!, to.root!), units: diffLists(units(from.root!), units(to.root!)) }
        : {}),
    kernel: moved(kernelOf(before), kernelOf(after)),
    ...diffBoot(from, to),
    features: diffLists(from.manifest.platform.features, to.manifest.platform.features),
    sizes: diffSizes(from, to),
  };
  const { unsigned } = from.manifest.boot;
  return { same: sameRoot && unsigned.sha256 === to.manifest.boot.unsigned.sha256, ...rest };
}

function packagesOf({ root, sbom }: Output): Map<string, string> {
  const status = root?.find("/var/lib/dpkg/status");
  const pairs =
    root !== undefined && status !== undefined
      ? [...installedPackages(root.read(status).toString())].map(([name, { version }]) => [name, version] as const)
      : packagesOfSbom(sbom);
  return new Map(pairs.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function packagesOfSbom(sbom: string | undefined): (readonly [string, string])[] {
  if (sbom === undefined) return [];
  const { components } = JSON.parse(sbom) as {
    components: { type: string; name: string; version: string; properties?: { value: string }[] }[];
  };
  return components
    .filter(({ type, properties }) => type === "library" && properties?.some(({ value }) => value === "root"))
    .map(({ name, version }) => [name, version] as const);
}

function kernelOf(packages: Map<string, string>): string {
  const kernel = [...packages].find(([name]) => /^linux-image-\d/.test(name));
  return kernel === undefined ? "none" : kernel.join(" ");
}

function diffBoot(from: Output, to: Output): Pick<OutputDiff, "commandLine" | "openings" | "nodes"> {
  if (from.boot === undefined || to.boot === undefined) return {};
  const [before, after] = [layerOf(from.boot), layerOf(to.boot)];
  const nodes = (layer: Layer) => new Map(layer.nodes.map((node) => [node.name, JSON.stringify(node)]));
  const [old, now] = [nodes(before), nodes(after)];
  // The root hash is on it too: that it differs says nothing that the files do not say.
  const words = (text: string) => text.replace(/ kubedos\.root=\S+/, "");
  return {
    commandLine: moved(words(from.boot.commandLine), words(to.boot.commandLine)),
    openings: diffLists(before.openings.map(openingText), after.openings.map(openingText)),
    nodes: {
      ...diffLists([...old.keys()], [...now.keys()]),
      changed: [...now.keys()].filter((name) => old.has(name) && old.get(name) !== now.get(name)),
    },
  };
}

interface Layer {
  nodes: { name: string }[];
  openings: { service: string; plane: string; protocol: string; port: number; roles?: string[]; from?: string[] }[];
}

function layerOf({ layer }: NonNullable<Output["boot"]>): Layer {
  const { nodes = [], openings = [] } = JSON.parse(layer.get("cluster.json") ?? "{}") as Partial<Layer>;
  return { nodes, openings };
}

function openingText({ service, plane, protocol, port, roles, from }: Layer["openings"][number]): string {
  const on = roles === undefined ? "" : ` on ${roles.join(",")}`;
  return `${service} ${plane} ${protocol}/${port}${on}${from === undefined ? "" : ` from ${from.join(",")}`}`;
}

/** Links below /etc/systemd/system: wanted by a target, or pointing nowhere. */
function units(root: Erofs): string[] {
  return root.entries().flatMap((entry) => {
    const { path, type } = entry;
    if (type !== "link" || !path.startsWith("/etc/systemd/system/")) return [];
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (/\.(wants|requires)\/[^/]+$/.test(path)) return [`enabled ${name}`];
    return root.read(entry).toString() === "/dev/null" ? [`masked ${name}`] : [];
  });
}

function diffFiles(from: Erofs, to: Erofs): NonNullable<OutputDiff["files"]> {
  const before = new Map(from.entries().map((entry) => [entry.path, entry]));
  const after = new Map(to.entries().map((entry) => [entry.path, entry]));
  const only = (side: Erofs, mine: Map<string, ErofsEntry>, other: Map<string, ErofsEntry>) =>
    [...mine.values()].filter(({ path }) => !other.has(path)).map((entry) => facts(side, entry));
  return {
    added: only(to, after, before),
    removed: only(from, before, after),
    changed: [...after.values()].flatMap((entry) => {
      const old = before.get(entry.path);
      if (old === undefined || isSame(from, old, to, entry)) return [];
      return [{ path: entry.path, from: facts(from, old), to: facts(to, entry) }];
    }),
  };
}

function isSame(from: Erofs, a: ErofsEntry, to: Erofs, b: ErofsEntry): boolean {
  if (a.type !== b.type || a.mode !== b.mode || a.uid !== b.uid || a.gid !== b.gid || a.device !== b.device)
    return false;
  if (a.type !== "file" && a.type !== "link") return true;
  if (a.sizeBytes !== b.sizeBytes) return false;
  const [left, right] = [from.stored(a), to.stored(b)];
  const same =
    left.length === right.length &&
    left.every(({ offsetBytes, kind, bytes }, index) => {
      const other = right[index]!;
      return offsetBytes === other.offsetBytes && kind === other.kind && bytes.equals(other.bytes);
    });
  // The same content may have been compressed by another version, in another way.
  return same || from.read(a).equals(to.read(b));
}

function facts(root: Erofs, entry: ErofsEntry): FileFacts {
  const { path, type, mode, uid, gid, sizeBytes } = entry;
  return {
    path,
    type,
    mode: mode.toString(8).padStart(4, "0"),
    owner: `${uid}:${gid}`,
    sizeBytes,
    ...(type === "file" ? { sha256: createHash("sha256").update(root.read(entry)).digest("hex") } : {}),
    ...(type === "link" ? { target: root.read(entry).toString() } : {}),
  };
}

function diffSizes(from: Output, to: Output): OutputDiff["sizes"] {
  const sizes = ({ manifest }: Output) =>
    new Map([
      ...manifest.artifacts.map(({ target, sizeBytes }) => [target, sizeBytes] as const),
      ["root", manifest.platform.root.sizeBytes] as const,
      ["boot image", manifest.boot.signed.sizeBytes] as const,
      ["initrd", manifest.boot.initrd.sizeBytes] as const,
      ["cluster layer", manifest.boot.layer.sizeBytes] as const,
    ]);
  const [before, after] = [sizes(from), sizes(to)];
  return [...new Set([...before.keys(), ...after.keys()])].flatMap((what) => {
    const [old, now] = [before.get(what), after.get(what)];
    return old === now ? [] : [{ what, from: old, to: now }];
  });
}

function diffLists(from: readonly string[], to: readonly string[]): Difference<string, never> {
  const [before, after] = [new Set(from), new Set(to)];
  return {
    added: [...after].filter((one) => !before.has(one)).toSorted(),
    removed: [...before].filter((one) => !after.has(one)).toSorted(),
    changed: [],
  };
}

function moved(from: string, to: string): { from: string; to: string } | undefined {
  return from === to ? undefined : { from, to };
}

import { features } from "../features/registry.ts";
import type { Feature } from "../features/types.ts";
import type { Path } from "./finding.ts";
import { flavoursOf } from "./flavours.ts";
import { blobName, normaliseReference } from "./image-reference.ts";
import { formatIpv4, type Ipv4Network, parseIpv4, parseIpv4Network } from "./ipv4.ts";
import type { WrittenSpec } from "./schema.ts";
import { specLimits } from "./schema/fields.ts";
import {
  type FeatureName,
  featureNames,
  gateNames,
  type GateName,
  type RoleName,
  type Spec,
  type SpecNode,
} from "./types.ts";

/** Bytes that WireGuard adds to a packet over IPv6, the larger of its two overheads (60 over IPv4). */
export const wireguardOverheadBytes = 80;
/** UDP port of the first plane without one is this plus 1. */
const portBase = 51_820;
/** Underlay address of a node without one: network + this + index. Leaves room for gateways and name servers. */
const underlayOffset = 10;
/** Gates that check nodes from other nodes: one alone has nobody to be checked by. */
export const pairGates: readonly GateName[] = ["fabric", "firewall", "ebpf"];

/** The spec as every later part sees it, and where its nodes are written. */
export interface NormalSpec {
  spec: Spec;
  /** For each node of `spec.nodes`: path of the node or pool it comes from. */
  origins: Path[];
  /** The pools ask for more nodes than there may be; the rest was left out. */
  tooManyNodes: boolean;
}

/**
 * Fills in what depends on several fields and expands pools. Pure; never throws: where a value it needs is wrong
 * (constraints/ says so), the result is only good for being checked further.
 */
export function normalise(written: WrittenSpec): NormalSpec {
  const { entries, tooMany } = expand(written);
  const underlay = parseIpv4Network(written.underlay.cidr);
  const indexes = assignIndexes(entries);
  const { edge, ...platform } = written.platform;
  const chosen = (written.platform.features ?? possibleFeatures(written)).toSorted();
  const nodes = entries.map((entry, i) => toNode(entry, indexes[i]!, underlay, written.trust.generation));
  return {
    spec: {
      apiVersion: written.apiVersion,
      metadata: written.metadata,
      platform: {
        ...platform,
        kernels: flavoursOf(written),
        features: chosen,
        ...(edge !== undefined && {
          edge: {
            ...edge,
            services: edge.services.map((service) => ({ ...service, targetPort: service.targetPort ?? service.port })),
          },
        }),
        blobs: written.platform.blobs.map(({ url, mirrors, name, mode, ...rest }) => ({
          ...rest,
          name: name ?? blobName(url),
          urls: [url, ...mirrors],
          mode: Number.parseInt(mode, 8),
        })),
        images: written.platform.images.map(({ reference, plainHttp }) => ({
          reference: normaliseReference(reference) ?? reference,
          plainHttp,
        })),
        files: written.platform.files.map((file) => ({ ...file, mode: Number.parseInt(file.mode, 8) })),
      },
      underlay: written.underlay,
      planes: written.planes.map((plane, i) => ({
        ...plane,
        port: plane.port ?? portBase + 1 + i,
        mtu: plane.mtu ?? Math.max(written.underlay.mtu - wireguardOverheadBytes, specLimits.planeMtuMin),
      })),
      kubernetes: written.kubernetes,
      nodes,
      substrate: written.substrate,
      targets: written.targets,
      install: written.install,
      trust: {
        ...written.trust,
        operators: written.trust.operators.map((operator, i) => ({ ...operator, slot: operator.slot ?? i + 1 })),
      },
      policy: written.policy,
      convergence: written.convergence,
      acceptance: {
        ...written.acceptance,
        gates: written.acceptance.gates ?? possibleGates(written, chosen, nodes.length),
      },
    },
    origins: entries.map((entry) => entry.origin),
    tooManyNodes: tooMany,
  };
}

/** Features whose services find a plane to be bound to, without those that a spec has to ask for. */
function possibleFeatures(written: WrittenSpec): FeatureName[] {
  const purposes = new Set<string>(["underlay", ...written.planes.map((plane) => plane.purpose)]);
  return featureNames.filter((name) => {
    const feature: Feature = features[name];
    return feature.default !== false && feature.openings.every((opening) => purposes.has(opening.plane));
  });
}

/** Gates of the chosen features that can be met with this substrate, trust and number of nodes, in running order. */
function possibleGates(written: WrittenSpec, chosen: readonly FeatureName[], nodes: number): GateName[] {
  const machines = written.substrate.name !== "nspawn";
  const canPass = (name: GateName) =>
    name === "sealed"
      ? machines && written.trust.secureBoot
      : (machines || name !== "ebpf") && (nodes > 1 || !pairGates.includes(name));
  const wanted = new Set<GateName>(chosen.flatMap((name) => [...features[name].gates]));
  return gateNames.filter((name) => wanted.has(name) && canPass(name));
}

interface Entry extends Pick<SpecNode, "name" | "roles" | "cpus" | "memoryMiB" | "diskGiB" | "hardware"> {
  origin: Path;
  index: number | undefined;
  underlay: string | undefined;
  generation: number | undefined;
}

function expand(written: WrittenSpec): { entries: Entry[]; tooMany: boolean } {
  const entries: Entry[] = written.nodes.map((node, i) => ({
    origin: ["nodes", i],
    name: node.name,
    index: node.index,
    roles: rolesOf(node),
    cpus: node.cpus,
    memoryMiB: node.memoryMiB,
    diskGiB: node.diskGiB,
    underlay: node.underlay,
    generation: node.generation,
    hardware: node.hardware,
  }));
  let tooMany = entries.length > specLimits.nodesMax;
  for (const [p, pool] of written.pools.entries()) {
    const roles = rolesOf(pool);
    const firstUnderlay = pool.firstUnderlay === undefined ? undefined : parseIpv4(pool.firstUnderlay);
    const count = Math.min(pool.count, Math.max(0, specLimits.nodesMax - entries.length));
    tooMany ||= count < pool.count;
    for (let k = 0; k < count; k++) {
      entries.push({
        origin: ["pools", p],
        name: `${pool.name}-${k + 1}`,
        index: pool.firstIndex === undefined ? undefined : pool.firstIndex + k,
        roles,
        cpus: pool.cpus,
        memoryMiB: pool.memoryMiB,
        diskGiB: pool.diskGiB,
        underlay: pool.firstUnderlay === undefined ? undefined : addressOr(firstUnderlay, k, pool.firstUnderlay),
        generation: pool.generation,
      });
    }
  }
  return { entries, tooMany };
}

function rolesOf(machine: { role?: RoleName; roles?: RoleName[] }): RoleName[] {
  if (machine.roles === undefined) return [machine.role ?? "worker"];
  // Both together are refused; all of them keep other constraints from speaking up about it too.
  return machine.role === undefined ? machine.roles : [...new Set([machine.role, ...machine.roles])];
}

/** Written indexes are kept; the others get the lowest free numbers in order. */
function assignIndexes(entries: readonly Entry[]): number[] {
  const taken = new Set(entries.map((entry) => entry.index));
  let next = 1;
  return entries.map((entry) => {
    if (entry.index !== undefined) return entry.index;
    while (taken.has(next)) next++;
    return next++;
  });
}

function toNode(entry: Entry, index: number, underlay: Ipv4Network | undefined, generation: number): SpecNode {
  return {
    name: entry.name,
    index,
    roles: entry.roles,
    cpus: entry.cpus,
    memoryMiB: entry.memoryMiB,
    diskGiB: entry.diskGiB,
    underlay: entry.underlay ?? addressOr(underlay?.first, underlayOffset + index, ""),
    generation: entry.generation ?? generation,
    ...(entry.hardware === undefined ? {} : { hardware: lowerCase(entry.hardware) }),
  };
}

function lowerCase(hardware: NonNullable<SpecNode["hardware"]>): NonNullable<SpecNode["hardware"]> {
  const lower = ([kind, value]: [string, string]) => [kind, kind === "tpm" ? value : value.toLowerCase()];
  return Object.fromEntries(Object.entries(hardware).map(lower));
}

/** `base + offset` as an address; `fallback` where there is no base or no such address (which is reported). */
function addressOr(base: number | undefined, offset: number, fallback: string): string {
  return base === undefined || base + offset >= 2 ** 32 ? fallback : formatIpv4(base + offset);
}

import {
  layerFormat,
  type ClusterLayer,
  type LayerEdge,
  type LayerNode,
  type LayerOpening,
} from "../../shared/cluster-layer.ts";
import { KubedosError } from "../../shared/error.ts";
import { archiveCertificate } from "../../shared/repository.ts";
import type { LayerPki } from "../../shared/pki.ts";
import type { FeatureOpening } from "../features/types.ts";
import { planeOfAddress } from "../spec/ipv4.ts";
import type { Spec } from "../spec/types.ts";
import { deriveAutomation, deriveSsh, deriveWireguard } from "../vault/derive.ts";
import { sshPublicKey } from "../vault/openssh.ts";
import { signifyPublicKey } from "../vault/signify.ts";
import type { Vault } from "../vault/types.ts";
import { archiveKey } from "../vault/archive-key.ts";
import { openpgpArmoredCertificate } from "../vault/openpgp.ts";
import { layerRepository } from "./repository.ts";
import { assertFoundry, clusterId, drivesNodes, nodeOwner, operatorAccess } from "./keys.ts";
import { nodesJoin, type SaltKeys } from "./salt.ts";

/** What the platform's features bring to the cluster layer. */
export interface LayerParts {
  openings: readonly FeatureOpening[];
  /** Kernel settings that depend on the spec and are not part of the image. */
  sysctls?: Readonly<Record<string, string>>;
  /** Certificates of the authorities (`publicAuthorities`). */
  pki?: LayerPki;
  /** Public keys of Salt (`saltPublicKeys`). */
  salt?: SaltKeys;
}

/** A file of the cluster layer, relative to `/run/kubedos/layer/`. */
export interface LayerFile {
  path: string;
  mode: number;
  content: string;
}

/**
 * The cluster layer of a spec: public keys of all nodes and operators, addresses, planes and policy. Pure: the same
 * spec and vault give the same layer. Four key derivations a node.
 *
 * @throws KubedosError (code `spec`) when the vault is another foundry's or an opening names a plane that is not there
 */
export function clusterLayer(spec: Spec, vault: Vault, parts: LayerParts): ClusterLayer {
  assertFoundry(spec, vault);
  const repository = layerRepository(spec);
  return {
    format: layerFormat,
    cluster: spec.metadata.name,
    clusterId: clusterId(vault, spec.metadata.name),
    underlay: { ...spec.underlay },
    planes: spec.planes.map((plane) => ({ ...plane })),
    nodes: spec.nodes.map((node) => layerNode(spec, vault, node, parts.salt?.minions[node.name])),
    operators: spec.trust.operators.map(({ name }) => {
      const { plane, address, wireguard, sshPublicKey: sshKey } = operatorAccess(spec, vault, name);
      return { name, plane, address, publicKey: wireguard.publicKey, sshKey };
    }),
    openings: layerOpenings(spec, parts.openings),
    ...(spec.platform.features.includes("ansible") ? { convergence: { ...spec.convergence } } : {}),
    features: [...spec.platform.features].toSorted(),
    sysctls: { ...parts.sysctls },
    ...(parts.pki !== undefined && { pki: parts.pki }),
    ...(spec.platform.edge !== undefined && { edge: layerEdge(spec, spec.platform.edge) }),
    ...(parts.salt !== undefined && {
      salt: { masterKey: parts.salt.master, ...(nodesJoin(spec) && { enrollment: "join" as const }) },
    }),
    ...(repository !== undefined && { repository }),
  };
}

/** The layer as files: what the initrd's cpio and nspawn's layer directory hold. None of them is secret. */
export function layerFiles(layer: ClusterLayer, vault: Pick<Vault, "foundrySecret" | "signing">): LayerFile[] {
  const repository = { [archiveCertificate]: openpgpArmoredCertificate(archiveKey(vault)) };
  const files = {
    ...(layer.repository !== undefined && repository),
    "cluster.json": `${JSON.stringify(withSortedKeys(layer))}\n`,
    "cluster-id": `${layer.clusterId}\n`,
    "foundry.pub": signifyPublicKey(vault.signing.publicKey),
    nodes: layer.nodes.map((node) => `${node.name} ${node.generation}\n`).join(""),
  };
  return Object.entries(files).map(([path, content]) => ({ path, mode: 0o644, content }));
}

function layerNode(spec: Spec, vault: Vault, node: Spec["nodes"][number], saltKey: string | undefined): LayerNode {
  const owner = nodeOwner(spec, node);
  return {
    name: node.name,
    index: node.index,
    roles: [...node.roles],
    underlay: node.underlay,
    generation: node.generation,
    keys: spec.planes.map((plane) => deriveWireguard(vault.foundrySecret, owner, plane.name).publicKey),
    hostKey: sshPublicKey(deriveSsh(vault.foundrySecret, owner).publicKey),
    ...(drivesNodes(spec, node)
      ? { automationKey: sshPublicKey(deriveAutomation(vault.foundrySecret, owner).publicKey) }
      : {}),
    ...(saltKey !== undefined && { saltKey }),
  };
}

function layerEdge(spec: Spec, edge: NonNullable<Spec["platform"]["edge"]>): LayerEdge {
  const plane = planeOfAddress(spec.planes, edge.vip);
  if (plane === undefined) throw new KubedosError("spec", `the virtual address ${edge.vip} is on no plane`);
  return {
    plane: plane.name,
    vip: edge.vip,
    services: edge.services.map(({ name, port, role, targetPort }) => ({ name, port, targetRole: role, targetPort })),
  };
}

/** Features name a purpose, which means every plane of that purpose; the spec's own openings name a plane. */
function layerOpenings(spec: Spec, fromFeatures: readonly FeatureOpening[]): LayerOpening[] {
  const openings: LayerOpening[] = fromFeatures.flatMap((opening) => {
    if (opening.plane === "underlay") return [{ ...opening }];
    const planes = spec.planes.filter((plane) => plane.purpose === opening.plane);
    if (planes.length === 0) {
      throw new KubedosError("spec", `${opening.service} is served on the ${opening.plane} plane, which is not there`, {
        hint: `add a plane with \`purpose: ${opening.plane}\`, or leave out the feature that serves ${opening.service}`,
      });
    }
    return planes.map((plane) => ({ ...opening, plane: plane.name }));
  });
  for (const opening of spec.policy.openings) {
    if (opening.plane !== "underlay" && !spec.planes.some((plane) => plane.name === opening.plane)) {
      throw new KubedosError("spec", `policy opens ${opening.service} on the unknown plane ${opening.plane}`);
    }
    openings.push({ ...opening });
  }
  const keyed = openings.map((opening) => [JSON.stringify(withSortedKeys(opening)), opening] as const);
  const sorted = [...new Map(keyed)].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return sorted.map(([, opening]) => opening);
}

/** Keys in code-unit order at every depth, so that the bytes do not depend on how an object was put together. */
function withSortedKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withSortedKeys);
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, withSortedKeys(inner)]));
}

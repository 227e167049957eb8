import { createHash } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import type { Spec, SpecNode } from "../spec/types.ts";
import { deriveSsh, deriveWireguard, operatorOwner, type KeyOwner, type WireguardKeys } from "../vault/derive.ts";
import { sshPrivateKey, sshPublicLine } from "../vault/openssh.ts";
import { signifyPublicKeyBase64 } from "../vault/signify.ts";
import type { Vault } from "../vault/types.ts";
import { controlPlaneOf, operatorAddress, operatorUnderlay } from "./addresses.ts";

/** Everything an operator's machine needs to be a peer of the control plane and to log in. */
export interface OperatorAccess {
  name: string;
  /** Interface name of the plane on the nodes. */
  plane: string;
  /** Address on the control plane, without prefix length. */
  address: string;
  /** Address on the underlay, without prefix length, for a lab whose underlay the operator's machine joins. */
  underlay: string;
  wireguard: WireguardKeys;
  /** OpenSSH private key file. */
  sshPrivateKey: string;
  /** `ssh-ed25519 AAAA… comment` */
  sshPublicKey: string;
}

/** 32 hex digits that stand for this cluster of this foundry: sha256(signing key NUL cluster name), first half. */
export function clusterId(vault: Pick<Vault, "signing">, cluster: string): string {
  const hash = createHash("sha256").update(vault.signing.publicKey).update(`\0${cluster}`);
  return hash.digest("hex").slice(0, 32);
}

export function nodeOwner(spec: Spec, node: Pick<SpecNode, "name" | "generation">): KeyOwner {
  return { cluster: spec.metadata.name, name: node.name, generation: node.generation };
}

/** Whether a node holds a key that opens the other nodes to Ansible: hubs of a platform that has it. */
export function drivesNodes(spec: Spec, node: Pick<SpecNode, "roles">): boolean {
  return node.roles.includes("hub") && spec.platform.features.includes("ansible");
}

/** Keys and addresses of an operator that the spec names. Its keys have the generation `trust.generation`. */
export function operatorAccess(spec: Spec, vault: Vault, name: string): OperatorAccess {
  const operator = spec.trust.operators.find((candidate) => candidate.name === name);
  if (operator === undefined) {
    const known = spec.trust.operators.map((candidate) => candidate.name).join(", ");
    throw new KubedosError("usage", `the spec has no operator ${JSON.stringify(name)}`, {
      hint: known === "" ? "add one to trust.operators" : `it has: ${known}`,
    });
  }
  const plane = controlPlaneOf(spec);
  const owner = { cluster: spec.metadata.name, name: operatorOwner(name), generation: spec.trust.generation };
  const ssh = deriveSsh(vault.foundrySecret, owner);
  const comment = `${name}@${spec.metadata.name}`;
  return {
    name,
    plane: plane.name,
    address: operatorAddress(plane, operator.slot),
    underlay: operatorUnderlay(spec, operator.slot),
    wireguard: deriveWireguard(vault.foundrySecret, owner, plane.name),
    sshPrivateKey: sshPrivateKey(ssh, comment),
    sshPublicKey: sshPublicLine(ssh.publicKey, comment),
  };
}

/** @throws KubedosError when the spec pins another foundry's key than the vault's */
export function assertFoundry(spec: Spec, vault: Pick<Vault, "signing">): void {
  const own = signifyPublicKeyBase64(vault.signing.publicKey);
  if (spec.trust.foundryKey === undefined || spec.trust.foundryKey === own) return;
  throw new KubedosError("spec", "the vault belongs to another foundry than trust.foundryKey names", {
    hint: `use the vault that this spec was made with; the key of this vault is ${own}`,
  });
}

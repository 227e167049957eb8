import { hkdfSync } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import { publicFromRaw } from "./raw-keys.ts";
import type { SigningKey } from "./types.ts";

/** Whose keys, in which cluster, of which generation. */
export interface KeyOwner {
  cluster: string;
  /** Node name, or `operatorOwner(name)`. */
  name: string;
  generation: number;
}

/** WireGuard keys in base64, as wg(8) writes them. */
export interface WireguardKeys {
  privateKey: string;
  publicKey: string;
}

const salt = "kubedos/v1";

/** Operators' names live apart from nodes' names, which never contain a colon. */
export function operatorOwner(name: string): string {
  return `operator:${name}`;
}

/**
 * 32 bytes that depend on the foundry secret, owner, purpose and generation: HKDF-SHA256 (RFC 5869) with the salt
 * `kubedos/v1` and the info `cluster NUL name NUL purpose NUL generation`. Changing this changes every key.
 *
 * @throws KubedosError when a name contains NUL, which would make two owners share their keys
 */
export function deriveBytes(foundrySecret: Uint8Array, owner: KeyOwner, purpose: string): Buffer {
  const parts = [owner.cluster, owner.name, purpose, String(owner.generation)];
  if (parts.some((part) => part === "" || part.includes("\0"))) {
    throw new KubedosError(
      "spec",
      `cannot derive keys for ${JSON.stringify(parts.join("/"))}: empty part or NUL in it`,
    );
  }
  return Buffer.from(hkdfSync("sha256", foundrySecret, salt, parts.join("\0"), 32));
}

/** The X25519 key of one plane's interface. */
export function deriveWireguard(foundrySecret: Uint8Array, owner: KeyOwner, plane: string): WireguardKeys {
  const scalar = deriveBytes(foundrySecret, owner, `wireguard/${plane}`);
  // RFC 7748, section 5: what wg(8) writes is clamped, and some readers insist.
  scalar[0]! &= 248;
  scalar[31] = (scalar[31]! & 127) | 64;
  return { privateKey: scalar.toString("base64"), publicKey: publicFromRaw("X25519", scalar).toString("base64") };
}

/** The ed25519 SSH key of a node (host key) or an operator (login key). */
export function deriveSsh(foundrySecret: Uint8Array, owner: KeyOwner): SigningKey {
  const seed = deriveBytes(foundrySecret, owner, "ssh");
  return { seed, publicKey: publicFromRaw("Ed25519", seed) };
}

/** The ed25519 SSH key that a hub drives the nodes with. */
export function deriveAutomation(foundrySecret: Uint8Array, owner: KeyOwner): SigningKey {
  const seed = deriveBytes(foundrySecret, owner, "ssh/automation");
  return { seed, publicKey: publicFromRaw("Ed25519", seed) };
}

/** machine-id(5): 32 hex digits in the form of a version 4 UUID. */
export function deriveMachineId(foundrySecret: Uint8Array, owner: KeyOwner): string {
  const id = deriveBytes(foundrySecret, owner, "machine-id").subarray(0, 16);
  id[6] = (id[6]! & 0x0f) | 0x40;
  id[8] = (id[8]! & 0x3f) | 0x80;
  return id.toString("hex");
}

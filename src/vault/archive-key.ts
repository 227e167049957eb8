import { deriveBytes } from "./derive.ts";
import type { OpenpgpKey } from "./openpgp.ts";
import { publicFromRaw } from "./raw-keys.ts";

/** Fixed: the fingerprint covers it, and a node's clock must not be before it. 2020-01-01. */
const createdAt = 1_577_836_800;

/**
 * The OpenPGP key that signs the foundry's apt repositories. Derived from the foundry secret, so that every vault has
 * it; no cluster is called `*`.
 */
export function archiveKey(vault: { foundrySecret: Uint8Array; signing: { publicKey: Uint8Array } }): OpenpgpKey {
  const owner = { cluster: "*", name: "foundry", generation: 1 };
  const seed = deriveBytes(vault.foundrySecret, owner, "openpgp/archive");
  const label = Buffer.from(vault.signing.publicKey.subarray(0, 4)).toString("hex");
  return { seed, publicKey: publicFromRaw("Ed25519", seed), createdAt, userId: `kubedos archive key ${label}` };
}

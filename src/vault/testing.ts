import { publicFromRaw } from "./raw-keys.ts";
import type { Vault } from "./types.ts";

/** A vault for tests: fixed secrets, no Secure Boot keys. `number` tells foundries apart. */
export function fixedVault(number = 1): Vault {
  const seed = Buffer.alloc(32, number + 100);
  const none = { key: "", certificate: "" };
  return {
    foundrySecret: Buffer.alloc(32, number),
    signing: { seed, publicKey: publicFromRaw("Ed25519", seed) },
    secureBoot: { pk: none, kek: none, db: none },
  };
}

import { createPrivateKey, type KeyObject } from "node:crypto";

export type Curve = "X25519" | "Ed25519";

/** PKCS#8 (RFC 8410) up to the raw key. */
const pkcs8Prefix = {
  X25519: Buffer.from("302e020100300506032b656e04220420", "hex"),
  Ed25519: Buffer.from("302e020100300506032b657004220420", "hex"),
} as const satisfies Record<Curve, Buffer>;

/** A private key object from the raw 32 bytes (RFC 7748 scalar, RFC 8032 seed). */
export function privateKeyFromRaw(curve: Curve, raw: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([pkcs8Prefix[curve], raw]), format: "der", type: "pkcs8" });
}

/** The raw 32-byte public key that belongs to raw private bytes. */
export function publicFromRaw(curve: Curve, raw: Uint8Array): Buffer {
  return publicByJwk(curve, raw) ?? publicOf(privateKeyFromRaw(curve, raw));
}

/**
 * The same through JWK (RFC 8037), which node parses ten times faster than PKCS#8: that counts with tens of
 * thousands of keys. It wants a public half, which node ignores and computes itself; a version that does not ignore
 * it refuses the empty one or gives it back, and then PKCS#8 serves.
 */
function publicByJwk(curve: Curve, raw: Uint8Array): Buffer | undefined {
  const d = Buffer.from(raw).toString("base64url");
  try {
    const publicKey = publicOf(createPrivateKey({ key: { kty: "OKP", crv: curve, d, x: "" }, format: "jwk" }));
    return publicKey.length === 32 ? publicKey : undefined;
  } catch {
    return undefined;
  }
}

function publicOf(key: KeyObject): Buffer {
  return Buffer.from(key.export({ format: "jwk" }).x!, "base64url");
}

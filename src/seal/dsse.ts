import { createHash, createPublicKey, sign, verify, type KeyObject } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import { privateKeyFromRaw } from "../vault/raw-keys.ts";
import type { SigningKey } from "../vault/types.ts";

/**
 * DSSE envelopes with ed25519 signatures.
 * https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md and envelope.md
 */
export interface Envelope {
  payloadType: string;
  payload: Buffer;
}

/** An ed25519 public key (32 bytes) as node:crypto's object. */
export function ed25519PublicKey(raw: Uint8Array): KeyObject {
  const x = Buffer.from(raw).toString("base64url");
  return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
}

/** The key as openssl and cosign read it (SubjectPublicKeyInfo, PEM). */
export function publicKeyPem(raw: Uint8Array): string {
  return String(ed25519PublicKey(raw).export({ format: "pem", type: "spki" }));
}

/** sha256 of the key's SubjectPublicKeyInfo, 64 hex digits: what a person compares, and the envelope's `keyid`. */
export function keyFingerprint(raw: Uint8Array): string {
  const der = ed25519PublicKey(raw).export({ format: "der", type: "spki" });
  return createHash("sha256").update(der).digest("hex");
}

/** An envelope as one line of JSON, newline included. Deterministic (RFC 8032). */
export function signEnvelope(key: SigningKey, { payloadType, payload }: Envelope): string {
  const sig = sign(null, preAuthentication(payloadType, payload), privateKeyFromRaw("Ed25519", key.seed));
  const envelope = {
    payloadType,
    payload: payload.toString("base64"),
    signatures: [{ keyid: keyFingerprint(key.publicKey), sig: sig.toString("base64") }],
  };
  return `${JSON.stringify(envelope)}\n`;
}

/**
 * The payload of an envelope that the key has signed.
 *
 * @throws KubedosError when the text is no envelope, or none of its signatures is the key's
 */
export function openEnvelope(publicKey: Uint8Array, text: string): Envelope {
  const parsed = parseEnvelope(text);
  const payload = Buffer.from(parsed.payload, "base64");
  const signed = preAuthentication(parsed.payloadType, payload);
  const key = ed25519PublicKey(publicKey);
  if (!parsed.signatures.some((one) => verify(null, signed, key, Buffer.from(one.sig, "base64")))) {
    throw new KubedosError("failed", "no signature of the envelope is by the foundry's key over this content");
  }
  return { payloadType: parsed.payloadType, payload };
}

function parseEnvelope(text: string): { payloadType: string; payload: string; signatures: { sig: string }[] } {
  const bad = (cause?: unknown) => new KubedosError("failed", "not a DSSE envelope", { cause });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw bad(cause);
  }
  const { payloadType, payload, signatures } = (value ?? {}) as Record<string, unknown>;
  if (typeof payloadType !== "string" || typeof payload !== "string" || !Array.isArray(signatures)) throw bad();
  const list = (signatures as unknown[]).map((one) => (one as { sig?: unknown } | null)?.sig);
  if (!list.every((sig) => typeof sig === "string")) throw bad();
  return { payloadType, payload, signatures: list.map((sig) => ({ sig })) };
}

/** PAE of the protocol: what is signed. */
function preAuthentication(type: string, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `), payload]);
}

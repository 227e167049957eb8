import { createHash, createPublicKey, verify, type KeyObject } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import type { FoundrySigner } from "./signer.ts";

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
export async function signEnvelope(signer: FoundrySigner, { payloadType, payload }: Envelope): Promise<string> {
  const sig = await signer.sign(preAuthentication(payloadType, payload));
  return envelopeLine({ payloadType, payload }, signer.publicKey, sig);
}

function envelopeLine({ payloadType, payload }: Envelope, publicKey: Uint8Array, sig: Buffer): string {
  const signatures = [{ keyid: keyFingerprint(publicKey), sig: sig.toString("base64") }];
  return `${JSON.stringify({ payloadType, payload: payload.toString("base64"), signatures })}\n`;
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
  const good = parsed.signatures
    .map((one) => Buffer.from(one.sig, "base64"))
    .find((signature) => verify(null, signed, key, signature));
  if (good === undefined) {
    throw new KubedosError("failed", "no signature of the envelope is by the foundry's key over this content");
  }
  const envelope = { payloadType: parsed.payloadType, payload };
  // What the signature does not cover (names of fields, the key's id) is as we write it, or somebody changed it.
  if (envelopeLine(envelope, publicKey, good) !== text) {
    throw new KubedosError("failed", "the envelope around the signed content is altered");
  }
  return envelope;
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

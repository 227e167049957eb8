import { createHash, createPublicKey, sign, verify } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import { privateKeyFromRaw } from "./raw-keys.ts";
import type { SigningKey } from "./types.ts";

/**
 * OpenBSD signify's file format (signify(1), and struct pubkey and struct sig in its signify.c): one line of
 * comment, one line of base64 over `Ed`, an 8-byte key number, and the 32-byte key or 64-byte signature.
 */

const algorithm = Buffer.from("Ed");
const keyNumberBytes = 8;

export interface SignifyPublicKey {
  /** 16 hex digits. */
  keyNumber: string;
  publicKey: Buffer;
}

/** Public key file. The key number is the start of the sha256 of the public key. */
export function signifyPublicKey(publicKey: Uint8Array): string {
  return `untrusted comment: kubedos foundry public key\n${signifyPublicKeyBase64(publicKey)}\n`;
}

/** The base64 line alone, as a spec pins it in `trust.foundryKey`. */
export function signifyPublicKeyBase64(publicKey: Uint8Array): string {
  return Buffer.concat([algorithm, keyNumber(publicKey), publicKey]).toString("base64");
}

/** Detached signature of a message. Deterministic (RFC 8032). */
export function signifySign(key: SigningKey, message: Uint8Array): string {
  return signifySignature(key.publicKey, sign(null, message, privateKeyFromRaw("Ed25519", key.seed)));
}

/** Signature file of a raw ed25519 signature (64 bytes) that was made elsewhere. */
export function signifySignature(publicKey: Uint8Array, signature: Uint8Array): string {
  const body = Buffer.concat([algorithm, keyNumber(publicKey), signature]).toString("base64");
  return `untrusted comment: verify with foundry.pub\n${body}\n`;
}

/** The raw ed25519 signature in a signature file. @throws KubedosError when it is not one */
export function rawSignature(text: string): Buffer {
  return parse(text, 64, "signature").rest;
}

/** @throws KubedosError when the text is not a signify public key */
export function parseSignifyPublicKey(text: string): SignifyPublicKey {
  const { number, rest } = parse(text, 32, "public key");
  return { keyNumber: number, publicKey: rest };
}

/**
 * What a signature says about a message: `valid`, by another key (`foreign`), or not of this message (`invalid`).
 *
 * @throws KubedosError when one of the texts is not in signify's format
 */
export function signifyVerify(
  publicKeyText: string,
  message: Uint8Array,
  signatureText: string,
): "valid" | "foreign" | "invalid" {
  const key = parseSignifyPublicKey(publicKeyText);
  const { number, rest } = parse(signatureText, 64, "signature");
  if (number !== key.keyNumber) return "foreign";
  const x = key.publicKey.toString("base64url");
  const publicKey = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  return verify(null, message, publicKey, rest) ? "valid" : "invalid";
}

function parse(text: string, bodyBytes: number, what: string): { number: string; rest: Buffer } {
  const [comment = "", line = "", ...more] = text.split("\n");
  const bytes = Buffer.from(line, "base64");
  const wellFormed =
    comment.startsWith("untrusted comment: ") &&
    more.join("") === "" &&
    bytes.toString("base64") === line &&
    bytes.length === algorithm.length + keyNumberBytes + bodyBytes &&
    bytes.subarray(0, 2).equals(algorithm);
  if (!wellFormed) throw new KubedosError("failed", `not a signify ${what}: ${JSON.stringify(text.slice(0, 80))}`);
  return { number: bytes.subarray(2, 10).toString("hex"), rest: bytes.subarray(10) };
}

function keyNumber(publicKey: Uint8Array): Buffer {
  return createHash("sha256").update(publicKey).digest().subarray(0, keyNumberBytes);
}

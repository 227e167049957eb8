import { createHash } from "node:crypto";
import type { SigningKey } from "./types.ts";

const keyType = "ssh-ed25519";
const blockBytes = 8; // of the cipher "none"

/** Base64 part of an OpenSSH public key line (RFC 8709). */
export function sshPublicKey(publicKey: Uint8Array): string {
  return publicBlob(publicKey).toString("base64");
}

/** `ssh-ed25519 AAAA… comment`, without a newline. */
export function sshPublicLine(publicKey: Uint8Array, comment: string): string {
  return `${keyType} ${sshPublicKey(publicKey)} ${comment}`;
}

/**
 * An unencrypted OpenSSH private key file (PROTOCOL.key in OpenSSH's source). Deterministic: the two equal check
 * integers, which are there to recognise a wrong passphrase, come from the public key.
 */
export function sshPrivateKey(key: SigningKey, comment: string): string {
  const check = createHash("sha256").update(key.publicKey).digest().subarray(0, 4);
  const secret = Buffer.concat([
    check,
    check,
    field(keyType),
    field(key.publicKey),
    field(Buffer.concat([key.seed, key.publicKey])),
    field(comment),
  ]);
  const padding = Buffer.from(
    Array.from({ length: (blockBytes - (secret.length % blockBytes)) % blockBytes }, (_, i) => i + 1),
  );
  const file = Buffer.concat([
    Buffer.from("openssh-key-v1\0"),
    field("none"),
    field("none"),
    field(""),
    uint32(1),
    field(publicBlob(key.publicKey)),
    field(Buffer.concat([secret, padding])),
  ]);
  const lines = file.toString("base64").match(/.{1,70}/g)!;
  return ["-----BEGIN OPENSSH PRIVATE KEY-----", ...lines, "-----END OPENSSH PRIVATE KEY-----", ""].join("\n");
}

function publicBlob(publicKey: Uint8Array): Buffer {
  return Buffer.concat([field(keyType), field(publicKey)]);
}

/** RFC 4251 `string`: length, then bytes. */
function field(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([uint32(bytes.length), bytes]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

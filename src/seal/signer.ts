import { createPublicKey, sign as signWith, verify, X509Certificate, type KeyObject } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import { run } from "../host/run.ts";
import { privateKeyFromRaw } from "../vault/raw-keys.ts";
import type { SigningKey } from "../vault/types.ts";
import { ed25519PublicKey } from "./dsse.ts";

/**
 * Which of the two keys is to sign: `foundry` is ed25519 (RFC 8032) over the message itself, `secure-boot` is RSA
 * PKCS #1 v1.5 with SHA-256. Both are deterministic: whoever holds the key, the artifacts have the same bytes.
 */
export const signingKeyNames = ["foundry", "secure-boot"] as const;
export type SigningKeyName = (typeof signingKeyNames)[number];

/** The raw signature over a message. */
export type Sign = (message: Uint8Array) => Promise<Buffer>;

/** Signs what is said about artifacts. */
export interface FoundrySigner {
  /** ed25519, 32 bytes. */
  publicKey: Uint8Array;
  sign: Sign;
}

/** Signs boot images. */
export interface BootSigner {
  /** PEM; its key is RSA. */
  certificate: string;
  sign: Sign;
}

/** Both signers of a build. */
export interface Signers {
  foundry: FoundrySigner;
  boot: BootSigner;
}

/** With keys of an opened vault. */
export function vaultSigners(vault: {
  signing: SigningKey;
  secureBoot: { db: { key: string; certificate: string } };
}): Signers {
  const { signing, secureBoot } = vault;
  return {
    foundry: {
      publicKey: signing.publicKey,
      sign: async (message) => signWith(null, message, privateKeyFromRaw("Ed25519", signing.seed)),
    },
    boot: {
      certificate: secureBoot.db.certificate,
      sign: async (message) => signWith("sha256", message, secureBoot.db.key),
    },
  };
}

/** Public halves of keys that are elsewhere. */
export interface PublicKeys {
  /** ed25519, 32 bytes. */
  foundry: Uint8Array;
  /** PEM. */
  certificate: string;
}

/** One raw signature by one key, from outside of this process. */
export type OutsideSigner = (key: SigningKeyName, message: Uint8Array) => Promise<Buffer>;

/** With keys that are elsewhere; what comes back is checked against the public halves before it is used. */
export function outsideSigners(keys: PublicKeys, outside: OutsideSigner, who: string): Signers {
  const checked =
    (name: SigningKeyName, publicKey: KeyObject): Sign =>
    async (message) => {
      const signature = await outside(name, message);
      if (verify(name === "foundry" ? null : "sha256", message, publicKey, signature)) return signature;
      throw new KubedosError(
        "failed",
        `${who} gave ${signature.length} bytes that are no signature by the key ${name}`,
        {
          hint:
            name === "foundry"
              ? "wanted: 64 raw bytes, ed25519 over the whole input (openssl pkeyutl -sign -rawin)"
              : "wanted: raw RSA PKCS #1 v1.5 with SHA-256 over the whole input (openssl dgst -sha256 -sign)",
        },
      );
    };
  return {
    foundry: { publicKey: keys.foundry, sign: checked("foundry", ed25519PublicKey(keys.foundry)) },
    boot: { certificate: keys.certificate, sign: checked("secure-boot", createPublicKey(keys.certificate)) },
  };
}

/**
 * A command that signs: the message on standard input, the raw signature on standard output. `{key}` in its words is
 * the key's name.
 */
export function commandSigner(command: readonly string[], signal: AbortSignal): OutsideSigner {
  return async (key, message) => {
    const [program = "", ...words] = command.map((word) => word.replaceAll("{key}", key));
    const { stdoutBytes } = await run(program, words, { input: message, signal, timeoutMs: 10 * 60_000 });
    return stdoutBytes;
  };
}

/** sha256 of a certificate, 64 hex digits. */
export function certificateFingerprint(pem: string): string {
  return new X509Certificate(pem).fingerprint256.replaceAll(":", "").toLowerCase();
}

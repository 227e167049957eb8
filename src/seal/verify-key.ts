import { createPublicKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { configDirectory } from "../host/paths.ts";
import { parseSignifyPublicKey } from "../vault/signify.ts";
import { parseRevoked } from "./revoked.ts";

/**
 * The foundry's public key as a person hands it over: a file in signify's format or PEM, or the base64 line that a
 * spec pins as `trust.foundryKey`. 32 bytes.
 *
 * @throws KubedosError (usage) when it is none of these
 */
export async function readTrustedKey(given: string): Promise<Buffer> {
  const comment = "untrusted comment: key\n";
  const text = /^RW[A-Za-z0-9+/=]{50,60}$/.test(given)
    ? `${comment}${given}\n`
    : await readFile(given, "utf8").catch((cause: unknown) => {
        throw new KubedosError("usage", `the key ${given} cannot be read`, {
          hint: "give foundry.pub or foundry.pem of the foundry that you trust",
          cause,
        });
      });
  try {
    if (text.startsWith("-----BEGIN")) return fromPem(text);
    return parseSignifyPublicKey(text.startsWith("untrusted comment:") ? text : `${comment}${text.trim()}\n`).publicKey;
  } catch (cause) {
    throw new KubedosError("usage", `${given} is not an ed25519 public key`, {
      hint: "give a file in signify's format (foundry.pub) or PEM (foundry.pem)",
      cause,
    });
  }
}

/**
 * Fingerprints of revoked keys from a file, or from `revoked` in the user's configuration where it exists.
 *
 * @throws KubedosError (usage) when the file cannot be read, or a line of it is no key
 */
export async function readRevoked(file: string | undefined): Promise<Set<string> | undefined> {
  const path = file ?? join(configDirectory(), "revoked");
  const text = await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
    if (file === undefined && cause.code === "ENOENT") return undefined;
    throw new KubedosError("usage", `the list of revoked keys ${path} cannot be read`, {
      hint: "it has one key a line: a fingerprint, or a signify public key",
      cause,
    });
  });
  return text === undefined ? undefined : parseRevoked(text, path);
}

function fromPem(text: string): Buffer {
  const key = createPublicKey(text);
  if (key.asymmetricKeyType !== "ed25519") throw new Error(`it is ${key.asymmetricKeyType}`);
  return Buffer.from(key.export({ format: "jwk" }).x!, "base64url");
}

import { KubedosError } from "../../shared/error.ts";
import type { VaultProtection } from "./types.ts";

/**
 * age files (https://age-encryption.org/v1), armored. The library is loaded at first use, because most commands
 * need no vault.
 */

/**
 * log2 of the scrypt work factor: 0.5 s to open with the library's own scrypt, as much as an attacker pays for each
 * guess. OWASP's recommendation for scrypt (N = 2^17, r = 8, p = 1).
 */
const defaultWorkFactor = 17;

/** What opens an age file. */
export type AgeLock = "passphrase" | "identity";

/** What a person or a program unlocks with. */
export type AgeKey = { passphrase: string } | { identities: readonly string[] };

/**
 * @param workFactor log2, for a passphrase; less only where the passphrase cannot be guessed
 * @throws KubedosError (code `usage`) when a recipient is not one of age's own (`age1…`)
 */
export async function ageEncrypt(
  text: string,
  protection: VaultProtection,
  workFactor = defaultWorkFactor,
): Promise<string> {
  const { Encrypter, armor } = await import("age-encryption");
  const encrypter = new Encrypter();
  if ("passphrase" in protection) {
    encrypter.setScryptWorkFactor(workFactor);
    encrypter.setPassphrase(protection.passphrase);
  } else {
    if (protection.recipients.length === 0) throw new KubedosError("usage", "a vault needs at least one recipient");
    for (const recipient of protection.recipients) {
      try {
        encrypter.addRecipient(recipient);
      } catch (cause) {
        throw new KubedosError("usage", `not an age recipient: ${recipient}`, {
          hint: "a recipient begins with `age1`; `age-keygen -y IDENTITY-FILE` prints it",
          cause,
        });
      }
    }
  }
  return armor.encode(await encrypter.encrypt(text));
}

/** Bytes sealed with a passphrase, not armored: what `age --decrypt` opens. */
export async function ageSeal(bytes: Uint8Array, passphrase: string): Promise<Uint8Array> {
  const { Encrypter } = await import("age-encryption");
  const encrypter = new Encrypter();
  encrypter.setScryptWorkFactor(defaultWorkFactor);
  encrypter.setPassphrase(passphrase);
  return encrypter.encrypt(bytes);
}

/** Bytes encrypted to an identity made for them alone (`AGE-SECRET-KEY-1…`): what `age --decrypt --identity` opens. */
export async function ageSealToNew(bytes: Uint8Array): Promise<{ identity: string; sealed: Uint8Array }> {
  const { Encrypter, generateX25519Identity, identityToRecipient } = await import("age-encryption");
  const identity = await generateX25519Identity();
  const encrypter = new Encrypter();
  encrypter.addRecipient(await identityToRecipient(identity));
  return { identity, sealed: await encrypter.encrypt(bytes) };
}

/** An age file whose armor is removed and whose header is read. */
export interface AgeFile {
  bytes: Uint8Array;
  lock: AgeLock;
}

/** @throws KubedosError when it is not an age file, is of a newer version, damaged or cut off */
export async function readAgeFile(file: Uint8Array, path: string): Promise<AgeFile> {
  const { armor } = await import("age-encryption");
  let bytes = file;
  const start = Buffer.from(file.subarray(0, 64)).toString("latin1");
  if (start.trimStart().startsWith("-----BEGIN AGE ENCRYPTED FILE-----")) {
    try {
      bytes = armor.decode(Buffer.from(file).toString("latin1"));
    } catch (cause) {
      throw damaged(path, cause);
    }
  }
  const header = Buffer.from(bytes.subarray(0, 64 * 1024)).toString("latin1");
  const version = /^age-encryption\.org\/(v\d+)\n/.exec(header)?.[1];
  if (version === undefined) {
    throw new KubedosError("failed", `${path} is not an age-encrypted file`, {
      hint: "name the vault that `kubedos init` made; it begins with -----BEGIN AGE ENCRYPTED FILE-----",
    });
  }
  if (version !== "v1") throw new KubedosError("failed", `${path} is an age file of the unknown version ${version}`);
  const stanzas = header.slice(0, header.indexOf("\n---"));
  return { bytes, lock: /\n-> scrypt /.test(stanzas) ? "passphrase" : "identity" };
}

/**
 * @param what names the key in messages, e.g. the identity files
 * @throws KubedosError when the key does not fit or the file is damaged
 */
export async function ageDecrypt(file: AgeFile, key: AgeKey, path: string, what: string): Promise<string> {
  const { Decrypter } = await import("age-encryption");
  const decrypter = new Decrypter();
  if ("passphrase" in key) decrypter.addPassphrase(key.passphrase);
  else for (const identity of key.identities) decrypter.addIdentity(identity);
  try {
    return await decrypter.decrypt(file.bytes, "text");
  } catch (cause) {
    if (!/no identity matched/.test((cause as Error).message)) throw damaged(path, cause);
    if ("passphrase" in key) {
      throw new KubedosError("failed", `wrong passphrase for ${path} (${what})`, {
        hint: "a file may end in one newline, which does not count; everything else does",
        cause,
      });
    }
    throw new KubedosError("failed", `${path} is not encrypted for any identity of ${what}`, {
      hint: "name the file with the identity that made the vault: --identity FILE",
      cause,
    });
  }
}

function damaged(path: string, cause: unknown): KubedosError {
  return new KubedosError("failed", `${path} is damaged or cut off: ${(cause as Error).message}`, {
    hint: "restore it from a backup; without it the cluster's keys are gone",
    cause,
  });
}

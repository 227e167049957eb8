import { createPublicKey } from "node:crypto";
import { z } from "zod";
import { KubedosError } from "../../shared/error.ts";
import { takeExclusive } from "../host/lease.ts";
import { fileExists, readSmallFile, replacePrivateFile } from "../host/private-file.ts";
import { freshRsaKey } from "../host/random.ts";
import { ageDecrypt, ageEncrypt, readAgeFile } from "./age.ts";
import { deriveBytes } from "./derive.ts";
import type { Vault } from "./types.ts";

/**
 * Keys that cannot be derived from the foundry secret because their kind (RSA) has no generation from a seed. They are
 * made once and kept beside the vault in an age file, locked with a passphrase derived from the foundry secret: the
 * vault opens it, and the vault's own file is never written again.
 */
export interface Keyring {
  /** PKCS#8 PEM by name. */
  privateKeys: Readonly<Record<string, string>>;
  /** Names of keys that were made now. */
  made: readonly string[];
}

/** What Salt itself makes. */
const modulusBits = 2048;
/** The passphrase has 256 random bits: nothing is gained by making a guess slow. */
const workFactor = 2;
const maxBytes = 256 * 1024 * 1024;
const atOnce = 4;

const contentSchema = z.strictObject({
  format: z.literal("kubedos-keyring"),
  version: z.literal(1),
  keys: z.record(z.string(), z.string().startsWith("-----BEGIN PRIVATE KEY-----")),
});

/**
 * The keys of these names; those that are not there yet are made and written down before they are used.
 *
 * @throws KubedosError when the file belongs to another vault, is damaged or cannot be written
 */
export async function openKeyring(
  path: string,
  vault: Pick<Vault, "foundrySecret">,
  names: readonly string[],
  signal?: AbortSignal,
): Promise<Keyring> {
  const lease = await takeExclusive(`${path}.lease`, signal);
  try {
    const keys = await readKeys(path, vault);
    const missing = [...new Set(names)].filter((name) => keys[name] === undefined);
    for (let i = 0; i < missing.length; i += atOnce) {
      signal?.throwIfAborted();
      await Promise.all(missing.slice(i, i + atOnce).map(async (name) => (keys[name] = await freshKey())));
    }
    if (missing.length > 0) {
      const content = { format: "kubedos-keyring", version: 1, keys: sorted(keys) };
      const protection = { passphrase: passphrase(vault) };
      await replacePrivateFile(path, await ageEncrypt(`${JSON.stringify(content)}\n`, protection, workFactor));
    }
    return { privateKeys: Object.fromEntries(names.map((name) => [name, keys[name]!])), made: missing };
  } finally {
    await lease.release();
  }
}

/** Public half of a private key (PEM), as PEM (SubjectPublicKeyInfo) without a last newline, as Salt compares them. */
export function publicKeyOf(privateKey: string): string {
  return (createPublicKey(privateKey).export({ format: "pem", type: "spki" }) as string).trimEnd();
}

async function readKeys(path: string, vault: Pick<Vault, "foundrySecret">): Promise<Record<string, string>> {
  if (!(await fileExists(path))) return {};
  const file = await readAgeFile(await readSmallFile(path, "keyring", "", maxBytes), path);
  const text = await ageDecrypt(file, { passphrase: passphrase(vault) }, path, "the vault's own").catch(
    (cause: unknown) => {
      throw new KubedosError("failed", `${path} cannot be opened with this vault`, {
        hint: "vault and keyring belong together: restore both from the same backup; without the keyring its keys are made anew, and running nodes refuse them until they are replaced",
        cause,
      });
    },
  );
  const content = contentSchema.safeParse(parseJson(text));
  if (content.success) return content.data.keys;
  throw new KubedosError("failed", `${path} was decrypted, but is not a keyring that this kubedos reads`, {
    hint: "use the version of kubedos that wrote it, or a newer one",
  });
}

/** Depends on nothing but the foundry secret: one keyring may outlive a change of the cluster's name. */
function passphrase(vault: Pick<Vault, "foundrySecret">): string {
  const owner = { cluster: "*", name: "foundry:keyring", generation: 1 };
  return deriveBytes(vault.foundrySecret, owner, "keyring").toString("base64url");
}

async function freshKey(): Promise<string> {
  const lines = (await freshRsaKey(modulusBits)).toString("base64").match(/.{1,64}/g)!;
  return ["-----BEGIN PRIVATE KEY-----", ...lines, "-----END PRIVATE KEY-----", ""].join("\n");
}

function sorted(keys: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(keys).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // the parser's message would quote the text
  }
}

import { fileExists, readSmallFile, writeNewPrivateFile } from "../host/private-file.ts";
import { freshBytes } from "../host/random.ts";
import { KubedosError } from "../../shared/error.ts";
import { ageDecrypt, ageEncrypt, readAgeFile } from "./age.ts";
import { decodeContent, encodeContent } from "./content.ts";
import { publicFromRaw } from "./raw-keys.ts";
import { makeSecureBootKeys } from "./secure-boot.ts";
import type { UnlockOptions, Vault, VaultProtection } from "./types.ts";
import { findKey } from "./unlock.ts";

const existsHint = "an existing vault is never overwritten: its keys are in use; move it away if it is not needed";

export function vaultExists(path: string): Promise<boolean> {
  return fileExists(path);
}

/**
 * Makes the secrets of a new foundry and writes them, encrypted, to a file that does not exist yet (0600).
 *
 * @throws KubedosError when the file exists, a recipient is wrong or the file cannot be written
 */
export async function createVault(path: string, protection: VaultProtection): Promise<Vault> {
  if (await vaultExists(path)) throw new KubedosError("failed", `${path} exists already`, { hint: existsHint });
  const vault = await makeVault();
  await sealVault(vault, path, protection);
  return vault;
}

/**
 * Writes an open vault to a new file (0600) with another protection.
 *
 * @throws KubedosError when the file exists or cannot be written
 */
export async function sealVault(vault: Vault, path: string, protection: VaultProtection): Promise<void> {
  await writeNewPrivateFile(path, await ageEncrypt(encodeContent(vault), protection), existsHint);
}

/**
 * Opens a vault with what `findKey` finds.
 *
 * @throws KubedosError when the file is missing, not a vault, damaged or of a newer version, or the key is missing
 *   or does not fit
 */
export async function openVault(path: string, unlock: UnlockOptions = {}): Promise<Vault> {
  const bytes = await readSmallFile(path, "vault", "`kubedos init` makes one beside the spec");
  const file = await readAgeFile(bytes, path);
  const { key, what } = await findKey(file.lock, path, unlock);
  return decodeContent(await ageDecrypt(file, key, path, what), path);
}

async function makeVault(): Promise<Vault> {
  const seed = freshBytes(32);
  const publicKey = publicFromRaw("Ed25519", seed);
  return {
    foundrySecret: freshBytes(32),
    signing: { seed, publicKey },
    secureBoot: await makeSecureBootKeys(publicKey.subarray(0, 4).toString("hex")),
  };
}

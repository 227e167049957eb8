import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { signingKeyNames, type OutsideSigner, type Signers, type SigningKeyName } from "./signer.ts";

/**
 * A directory that goes to whoever has the keys, and comes back: for each message `KEY-HASH.tbs` (to be signed), beside
 * it `KEY-HASH.sig` (the raw signature). HASH is the start of the message's sha256.
 */
export interface PendingSignatures {
  /** Takes a signature from the directory; puts the message there and throws (code `gate`) where there is none yet. */
  sign: OutsideSigner;
  /** Names of the messages that still wait. */
  waiting: string[];
}

/** Signs what waits in a directory with signatures that somebody puts there. */
export function pendingSignatures(directory: string): PendingSignatures {
  const waiting: string[] = [];
  return {
    waiting,
    async sign(key, message) {
      const name = messageName(key, message);
      const signature = await readFile(join(directory, `${name}.sig`)).catch(() => undefined);
      if (signature !== undefined) return signature;
      await mkdir(directory, { recursive: true });
      await writeFile(join(directory, `${name}.tbs`), message);
      waiting.push(`${name}.tbs`);
      throw new KubedosError("gate", `${join(directory, name)}.tbs is not signed yet`, {
        hint: `sign it with the key ${key}, put the raw signature beside it as ${name}.sig, and run \`kubedos sign --import ${directory}\``,
      });
    },
  };
}

/** One message that was signed. */
export interface SignedMessage {
  file: string;
  key: SigningKeyName;
  /** What it is, for the person who signs. */
  what: string;
}

/**
 * Signs every message of such a directory that has no signature yet.
 *
 * @throws KubedosError when the directory cannot be read, or a message is not what its name says
 */
export async function signPending(directory: string, signers: Signers): Promise<SignedMessage[]> {
  const names = await readdir(directory).catch((cause: unknown) => {
    throw new KubedosError("usage", `${directory} cannot be read`, {
      hint: "name the directory that `kubedos build --unsigned` wrote",
      cause,
    });
  });
  const signed: SignedMessage[] = [];
  for (const file of names.filter((name) => name.endsWith(".tbs")).toSorted()) {
    const stem = file.slice(0, -".tbs".length);
    if (names.includes(`${stem}.sig`)) continue;
    const message = await readFile(join(directory, file));
    const key = signingKeyNames.find((name) => messageName(name, message) === stem);
    if (key === undefined) {
      throw new KubedosError("failed", `${join(directory, file)} is altered: its name is not of its content`, {
        hint: "copy the directory again from where `kubedos build --unsigned` wrote it",
      });
    }
    const signature = await (key === "foundry" ? signers.foundry : signers.boot).sign(message);
    await writeFile(join(directory, `${stem}.sig`), signature);
    signed.push({ file, key, what: describeMessage(key, message) });
  }
  return signed;
}

function messageName(key: SigningKeyName, message: Uint8Array): string {
  return `${key}-${createHash("sha256").update(message).digest("hex").slice(0, 32)}`;
}

function describeMessage(key: SigningKeyName, message: Buffer): string {
  if (key === "secure-boot") return "Secure Boot signature of a boot image";
  if (message.subarray(0, 7).toString() === "DSSEv1 ") return "provenance";
  try {
    const { cluster, platform } = JSON.parse(message.toString()) as { cluster: string; platform: { rootHash: string } };
    return `manifest of the cluster ${cluster}, root hash ${platform.rootHash}`;
  } catch {
    return "unknown content";
  }
}

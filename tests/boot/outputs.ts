import { constants } from "node:fs";
import { chmod, copyFile, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { vaultSigners } from "../../src/seal/signer.ts";
import type { VerifyCheck } from "../../src/seal/verify.ts";
import { signifySignature } from "../../src/vault/signify.ts";
import type { Vault } from "../../src/vault/types.ts";
import { flip } from "./image.ts";

/** A writable copy of an output directory. */
export async function copyOutput(from: string, to: string): Promise<string> {
  await mkdir(to);
  for (const name of await readdir(from)) {
    await copyFile(join(from, name), join(to, name), constants.COPYFILE_FICLONE);
    await chmod(join(to, name), 0o600);
  }
  return to;
}

/** Writes a manifest and signs it as the foundry does, so that only what it says can be wrong. */
export async function resign(vault: Vault, directory: string, text: string): Promise<void> {
  const raw = await vaultSigners(vault).foundry.sign(Buffer.from(text));
  await writeFile(join(directory, "manifest.json"), text);
  await writeFile(join(directory, "manifest.json.sig"), signifySignature(vault.signing.publicKey, raw));
  await writeFile(join(directory, "manifest.json.cosign"), raw.toString("base64"));
}

/** `file: structure@offset` of all findings, without those of the files' own hashes. */
export function found(checks: readonly VerifyCheck[]): string[] {
  return checks
    .filter(({ check: name }) => name !== "hash")
    .flatMap(({ file, findings }) =>
      findings.map(
        ({ structure, offsetBytes }) => `${file}: ${structure}${offsetBytes === undefined ? "" : `@${offsetBytes}`}`,
      ),
    );
}

export function badHashes(checks: readonly VerifyCheck[]): string[] {
  return checks.filter(({ check: name, status }) => name === "hash" && status === "failed").map(({ file }) => file);
}

/** `file check: message` of all that is wrong or was not checked. */
export function wrong(checks: readonly VerifyCheck[]): string[] {
  return checks.flatMap(({ file, check: name, status, findings }) =>
    status === "ok" || status === "skipped"
      ? []
      : findings.length === 0
        ? [`${file} ${name}: ${status}`]
        : findings.map(({ message }) => `${file} ${name}: ${message}`),
  );
}

/** One bit of a file changed while `body` runs. */
export async function flippedWhile(file: string, offset: number, body: () => Promise<void>): Promise<void> {
  await flip(file, offset);
  try {
    await body();
  } finally {
    await flip(file, offset);
  }
}

import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { configDirectory } from "../host/paths.ts";
import { fileExists, isReadableByOthers, readSmallFile, writeNewPrivateFile } from "../host/private-file.ts";

/** The user's own age identity, made by `kubedos init` when there is none. */
export function defaultIdentityPath(): string {
  return join(configDirectory(), "identity.txt");
}

/**
 * The recipient (`age1…`) of the identity in a file; the file is made (0600) when there is none.
 *
 * @throws KubedosError when the file exists and holds no identity, or cannot be written
 */
export async function ensureIdentity(path: string): Promise<{ recipient: string; created: boolean }> {
  const { generateX25519Identity, identityToRecipient } = await import("age-encryption");
  if (await fileExists(path)) {
    const [identity] = await readIdentities(path);
    return { recipient: await identityToRecipient(identity!), created: false };
  }
  // X25519 and not the hybrid kind: every version of age can open what is encrypted for it.
  const identity = await generateX25519Identity();
  const recipient = await identityToRecipient(identity);
  const text = `# kubedos: keep this file secret and back it up\n# public key: ${recipient}\n${identity}\n`;
  await writeNewPrivateFile(path, text, "another kubedos made it just now: run the command again");
  return { recipient, created: true };
}

/**
 * The identities in an age identity file (`AGE-SECRET-KEY-…` lines, comments and empty lines between).
 *
 * @throws KubedosError when it is missing, open to other users, encrypted, or holds anything else
 */
export async function readIdentities(path: string): Promise<string[]> {
  const bytes = await readSmallFile(path, "identity file", "name one with --identity FILE; `age-keygen` makes one");
  if (await isReadableByOthers(path)) {
    throw new KubedosError("failed", `identity file ${path} can be read by other users`, {
      hint: `chmod 600 ${path}`,
    });
  }
  const lines = bytes
    .toString("utf8")
    .split(/\r?\n/)
    .map((line) => line.trim());
  if (lines[0]?.startsWith("-----BEGIN AGE ENCRYPTED FILE-----") === true) {
    throw unusable(path, "is itself encrypted", `decrypt it first: age -d -o identity.txt ${path}`);
  }
  const identities = lines.filter((line) => line !== "" && !line.startsWith("#"));
  for (const identity of identities) await checkIdentity(identity, path);
  if (identities.length === 0) throw unusable(path, "holds no identity", "`age-keygen -o FILE` makes one");
  return identities;
}

async function checkIdentity(identity: string, path: string): Promise<void> {
  const { identityToRecipient } = await import("age-encryption");
  try {
    await identityToRecipient(identity);
  } catch {
    // The cause is left out: it may quote the line.
    throw unusable(
      path,
      "holds a line that is not an age identity",
      "every line is AGE-SECRET-KEY-… or begins with #; SSH keys and plugins cannot be used",
    );
  }
}

function unusable(path: string, why: string, hint: string): KubedosError {
  return new KubedosError("failed", `identity file ${path} ${why}`, { hint });
}

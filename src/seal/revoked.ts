import { KubedosError } from "../../shared/error.ts";
import { parseSignifyPublicKey } from "../vault/signify.ts";
import { keyFingerprint } from "./dsse.ts";

/** How a revoked key is written: its fingerprint (64 hex digits), or the key's own line in signify's format. */
export const revokedKeyPattern = /^([0-9a-f]{64}|RW[A-Za-z0-9+/]{54})$/;

/**
 * Fingerprints of keys that are not to be trusted any more: of foundry keys (sha256 of the SubjectPublicKeyInfo, as
 * `verify` prints it) and of Secure Boot certificates (sha256 of the DER).
 */
export function revokedFingerprints(lines: readonly string[]): Set<string> {
  return new Set(lines.map((line) => (line.startsWith("RW") ? fingerprintOf(line) : line)));
}

/**
 * The same from the text of a file: one key a line; what follows a `#` is comment.
 *
 * @throws KubedosError (usage) that names the line which is no key: a list that is misread would revoke nothing
 */
export function parseRevoked(text: string, file: string): Set<string> {
  const lines = text.split("\n").map((line) => line.replace(/#.*/, "").trim());
  lines.forEach((line, index) => {
    if (line === "" || revokedKeyPattern.test(line)) return;
    throw new KubedosError("usage", `${JSON.stringify(line.slice(0, 80))} is not a key`, {
      at: { file, line: index + 1 },
      hint: "write a fingerprint (64 hex digits) or a key's line in signify's format, one a line",
    });
  });
  return revokedFingerprints(lines.filter((line) => line !== ""));
}

function fingerprintOf(line: string): string {
  return keyFingerprint(parseSignifyPublicKey(`untrusted comment: key\n${line}\n`).publicKey);
}

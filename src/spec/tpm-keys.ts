import { createHash, createPublicKey } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import type { Finding } from "./finding.ts";
import type { Spec } from "./types.ts";

/** The key of a machine's TPM that seeds are sealed to: RSA, 2048 bits, exponent 65537. */
export interface TpmKey {
  /** SubjectPublicKeyInfo as PEM (RFC 7468). */
  pem: string;
  /** sha256 of the SubjectPublicKeyInfo, as the installation medium shows it. */
  fingerprint: string;
}

const begin = "-----BEGIN PUBLIC KEY-----";

/**
 * Reads `tpm.pem` as a support bundle has it (node/writer/tpm), or `tpm2_readpublic --format=pem`.
 *
 * @throws KubedosError (code `spec`) when it is no such key
 */
export function readTpmKey(text: string, what: string): TpmKey {
  const hint = "take tpm.pem from the machine's support bundle, or make it with tpm2-tools (docs/targets.md)";
  const refuse = (why: string, cause?: unknown) => new KubedosError("spec", `${what}: ${why}`, { hint, cause });
  // createPublicKey also takes private keys and certificates.
  if (/PRIVATE KEY-----/.test(text)) throw refuse("this is a private key, which is not a TPM's");
  if (!text.trimStart().startsWith(begin)) throw refuse(`not a public key in PEM: it does not begin with ${begin}`);
  let key;
  try {
    key = createPublicKey(text);
  } catch (cause) {
    throw refuse("a damaged public key", cause);
  }
  const { modulusLength, publicExponent } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType !== "rsa" || modulusLength !== 2048 || publicExponent !== 65_537n) {
    const about = modulusLength === undefined ? "" : `, ${modulusLength} bits, exponent ${publicExponent}`;
    throw refuse(`a key of the kind ${key.asymmetricKeyType}${about}; it must be rsa, 2048 bits, exponent 65537`);
  }
  const der = key.export({ type: "spki", format: "der" });
  return {
    pem: key.export({ type: "spki", format: "pem" }).toString(),
    fingerprint: createHash("sha256").update(der).digest("hex"),
  };
}

/** Whether a field that names a key's file, or holds the key, holds it. */
export function isKeyText(key: string): boolean {
  return key.includes("-----BEGIN");
}

/**
 * The spec with the keys of TPMs in it: a name of a file gives way to the key. Findings are keys that cannot be read or are
 * no such keys, and two nodes with the same key.
 *
 * @param read reads a key's file, or throws a KubedosError
 */
export async function withTpmKeys(
  spec: Spec,
  read: (name: string, what: string) => Promise<Buffer>,
): Promise<{ spec: Spec; findings: Finding[] }> {
  const findings: Finding[] = [];
  const owners = new Map<string, string>();
  const nodes: Spec["nodes"] = [];
  for (const [i, node] of spec.nodes.entries()) {
    const written = node.hardware?.tpm;
    nodes.push(node);
    if (written === undefined) continue;
    const what = `TPM of node \`${node.name}\``;
    // Listed nodes come before those of pools, which have no hardware.
    const path = ["nodes", i, "hardware", "tpm"];
    try {
      const text = isKeyText(written) ? written : (await read(written, what)).toString("utf8");
      const { pem, fingerprint } = readTpmKey(text, what);
      const other = owners.get(fingerprint);
      owners.set(fingerprint, node.name);
      nodes[i] = { ...node, hardware: { ...node.hardware, tpm: pem } };
      if (other === undefined) continue;
      findings.push({ path, message: `${what} has the key of node \`${other}\``, hint: "give each its own machine's" });
    } catch (error) {
      if (!(error instanceof KubedosError)) throw error;
      findings.push({ path, message: error.message, hint: error.hint });
    }
  }
  return { spec: { ...spec, nodes }, findings };
}

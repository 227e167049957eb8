import { X509Certificate } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import { keyFingerprint } from "../seal/dsse.ts";
import type { PendingSignatures } from "../seal/pending.ts";
import { revokedFingerprints } from "../seal/revoked.ts";
import {
  certificateFingerprint,
  commandSigner,
  outsideSigners,
  vaultSigners,
  type OutsideSigner,
  type PublicKeys,
  type Signers,
} from "../seal/signer.ts";
import type { Spec } from "../spec/types.ts";
import { parseSignifyPublicKey } from "../vault/signify.ts";
import type { Vault } from "../vault/types.ts";

/**
 * Who signs the artifacts of a spec: the vault's keys, the spec's signing command, or (with `pending`) somebody who gets
 * the messages in a directory. Seeds are always signed by the vault's key.
 *
 * @throws KubedosError when the spec has revoked a key that would sign, or its certificate cannot sign boot images
 */
export function chooseSigners(
  { trust }: Pick<Spec, "trust">,
  vault: Pick<Vault, "signing" | "secureBoot">,
  signal: AbortSignal,
  pending?: PendingSignatures,
): Signers {
  const outside = trust.signing === undefined ? undefined : publicKeys(trust.signing);
  const keys = outside ?? { foundry: vault.signing.publicKey, certificate: vault.secureBoot.db.certificate };
  assertNotRevoked(keys, trust.revoked);
  if (pending !== undefined) return outsideSigners(keys, pending.sign, "the directory");
  if (outside === undefined) return vaultSigners(vault);
  const command = trust.signing?.command;
  if (command === undefined) return outsideSigners(keys, noCommand, "nobody");
  return outsideSigners(keys, commandSigner(command, signal), `the command ${command[0]}`);
}

const noCommand: OutsideSigner = (key) =>
  Promise.reject(
    new KubedosError("spec", `the key ${key} is not here, and the spec has no trust.signing.command`, {
      hint: "run `kubedos build --unsigned DIR`, have DIR signed, then `kubedos sign --import DIR`",
    }),
  );

function publicKeys({ foundryKey, certificate }: NonNullable<Spec["trust"]["signing"]>): PublicKeys {
  const { publicKey } = parseSignifyPublicKey(`untrusted comment: key\n${foundryKey}\n`);
  const bad = (why: string, cause?: unknown) =>
    new KubedosError("spec", `trust.signing.certificate cannot sign boot images: ${why}`, {
      hint: "give an X.509 certificate (PEM) of an RSA key",
      cause,
    });
  let type: string | undefined;
  try {
    type = new X509Certificate(certificate).publicKey.asymmetricKeyType;
  } catch (cause) {
    throw bad("it is not a certificate", cause);
  }
  if (type !== "rsa") throw bad(`its key is ${type}, and firmware wants RSA`);
  return { foundry: publicKey, certificate };
}

function assertNotRevoked(keys: PublicKeys, list: readonly string[]): void {
  const revoked = revokedFingerprints(list);
  for (const [what, fingerprint] of [
    ["the foundry's key", keyFingerprint(keys.foundry)],
    ["the Secure Boot certificate", certificateFingerprint(keys.certificate)],
  ] as const) {
    if (!revoked.has(fingerprint)) continue;
    throw new KubedosError("spec", `${what} ${fingerprint} is in trust.revoked, and would sign`, {
      hint: "sign with another key (trust.signing, or another vault), or take it off the list",
    });
  }
}

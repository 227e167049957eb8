import { type LayerPki, type PkiPurpose, pkiPurposes } from "../../shared/pki.ts";
import { deriveBytes, type KeyOwner } from "./derive.ts";
import { publicFromRaw } from "./raw-keys.ts";
import type { SigningKey, Vault } from "./types.ts";
import { type CertificateRequest, type Issuer, makeCertificate, privateKeyPem } from "./x509.ts";

/**
 * Fixed and wide: authorities are functions of the vault, and made anew by raising the generation. 2049 is the last
 * year that every X.509 reader writes and reads alike (RFC 5280, 4.1.2.5).
 */
export const authorityValidity = {
  notBefore: new Date("2020-01-01T00:00:00Z"),
  notAfter: new Date("2049-12-31T23:59:59Z"),
} as const;

/** A clock that is behind by less than this does not make a fresh certificate invalid, ms. */
export const backdatedMs = 24 * 3600 * 1000;

const dayMs = 24 * 3600 * 1000;

/** The authorities' keys and certificates. Private: only certificates leave the operator's machine. */
export interface Authorities {
  cluster: string;
  generation: number;
  root: Issuer;
  purposes: Record<PkiPurpose, Issuer>;
}

/** A certificate that a node or operator is to get. */
export interface LeafRequest {
  purpose: PkiPurpose;
  /** Whose keys: a node, or an operator (`operatorOwner`). */
  owner: KeyOwner;
  commonName: string;
  names: { dns: readonly string[]; ip: readonly string[] };
  /** When it is issued; seconds count. */
  issuedAt: Date;
  days: number;
}

/** A certificate with its intermediate, and its private key; both PEM. */
export interface Leaf {
  certificate: string;
  key: string;
}

/**
 * Root and intermediates of a cluster, derived from the foundry secret: the same vault, name and generation give the
 * same bytes, so a vault of any age has them.
 */
export async function deriveAuthorities(
  vault: Pick<Vault, "foundrySecret">,
  cluster: string,
  generation: number,
): Promise<Authorities> {
  const make = async (name: string, commonName: string, pathLength: number, issuer?: Issuer): Promise<Issuer> => {
    const owner = { cluster, name: `authority:${name}`, generation };
    const key = deriveSigning(vault.foundrySecret, owner, "pki");
    const request: CertificateRequest = {
      subject: { commonName, organization: cluster },
      serial: deriveBytes(vault.foundrySecret, owner, "pki/serial").subarray(0, 16),
      ...authorityValidity,
      publicKey: key.publicKey,
      pathLength,
    };
    return { key, certificate: await makeCertificate(request, issuer ?? { selfKey: key }) };
  };
  const root = await make("root", `${cluster} root`, 1);
  const purposes = await Promise.all(
    pkiPurposes.map(async (purpose) => [purpose, await make(purpose, `${cluster} ${purpose}`, 0, root)] as const),
  );
  return { cluster, generation, root, purposes: Object.fromEntries(purposes) as Authorities["purposes"] };
}

/** The public half, for the cluster layer. */
export function publicAuthorities({ root, purposes }: Authorities): LayerPki {
  const entries = pkiPurposes.map((purpose) => [purpose, purposes[purpose].certificate]);
  return { root: root.certificate, authorities: Object.fromEntries(entries) as LayerPki["authorities"] };
}

/** When a certificate that is issued now begins and ends. */
export function leafValidity(issuedAt: Date, days: number): { notBefore: Date; notAfter: Date } {
  const issuedMs = Math.floor(issuedAt.getTime() / 1000) * 1000;
  return { notBefore: new Date(issuedMs - backdatedMs), notAfter: new Date(issuedMs + days * dayMs) };
}

/** One certificate. Deterministic; its key changes with the owner's generation only. */
export async function issueLeaf(
  vault: Pick<Vault, "foundrySecret">,
  authorities: Authorities,
  request: LeafRequest,
): Promise<Leaf> {
  const { purpose, owner, commonName, names } = request;
  const key = deriveSigning(vault.foundrySecret, owner, `pki/${purpose}`);
  const validity = leafValidity(request.issuedAt, request.days);
  const serialOf = `pki/serial/${purpose}/${validity.notBefore.getTime()}/${validity.notAfter.getTime()}`;
  const issuer = authorities.purposes[purpose];
  const certificate = await makeCertificate(
    {
      subject: { commonName, organization: authorities.cluster },
      serial: deriveBytes(vault.foundrySecret, owner, serialOf).subarray(0, 16),
      ...validity,
      publicKey: key.publicKey,
      names,
    },
    issuer,
  );
  return { certificate: certificate + issuer.certificate, key: privateKeyPem(key) };
}

function deriveSigning(foundrySecret: Uint8Array, owner: KeyOwner, purpose: string): SigningKey {
  const seed = deriveBytes(foundrySecret, owner, purpose);
  return { seed, publicKey: publicFromRaw("Ed25519", seed) };
}

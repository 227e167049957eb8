import { type KeyObject, type webcrypto, X509Certificate } from "node:crypto";
import { privateKeyFromRaw } from "./raw-keys.ts";
import type { SigningKey } from "./types.ts";

/** Who signs: its key, and the certificate that says so. Without a certificate: self-signed. */
export interface Issuer {
  key: SigningKey;
  /** PEM. */
  certificate: string;
}

/** One certificate to be made. */
export interface CertificateRequest {
  /** Common name and organization of the subject. */
  subject: { commonName: string; organization: string };
  /** 16 bytes; made positive (RFC 5280, 4.1.2.2). */
  serial: Uint8Array;
  /** Whole seconds; RFC 5280 knows no smaller unit. */
  notBefore: Date;
  notAfter: Date;
  /** The certificate's own key; of a node only the public half is used. */
  publicKey: Uint8Array;
  /** An authority with so many authorities below it at most; absent: an end entity. */
  pathLength?: number;
  /** Names and addresses of an end entity. */
  names?: { dns: readonly string[]; ip: readonly string[] };
}

/**
 * An X.509 v3 certificate (RFC 5280) with an Ed25519 key and signature (RFC 8410), PEM. Both are deterministic: the
 * same request gives the same bytes.
 *
 * @param issuer absent: self-signed with `selfKey`
 */
export async function makeCertificate(
  request: CertificateRequest,
  issuer: Issuer | { selfKey: SigningKey },
): Promise<string> {
  // @peculiar/x509 needs the metadata polyfill to be there first.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const signingKey = await importPrivate("selfKey" in issuer ? issuer.selfKey : issuer.key);
  const publicKey = await importPublic(request.publicKey);
  const authority = request.pathLength !== undefined;
  const usage = authority ? x509.KeyUsageFlags.keyCertSign : x509.KeyUsageFlags.digitalSignature;
  const names = [
    ...(request.names?.dns ?? []).map((value) => ({ type: "dns" as const, value })),
    ...(request.names?.ip ?? []).map((value) => ({ type: "ip" as const, value })),
  ];
  const issuerPublic = "selfKey" in issuer ? issuer.selfKey.publicKey : issuer.key.publicKey;
  const certificate = await x509.X509CertificateGenerator.create({
    subject: distinguishedName(request.subject),
    issuer:
      "selfKey" in issuer ? distinguishedName(request.subject) : new x509.X509Certificate(issuer.certificate).subject,
    serialNumber: serialNumber(request.serial),
    notBefore: request.notBefore,
    notAfter: request.notAfter,
    publicKey,
    signingKey,
    signingAlgorithm: { name: "Ed25519" },
    extensions: [
      new x509.BasicConstraintsExtension(authority, request.pathLength, true),
      new x509.KeyUsagesExtension(usage, true),
      // Both: members of a cluster are servers and clients of each other.
      ...(authority
        ? []
        : [new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth])]),
      ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)]),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(await importPublic(issuerPublic)),
    ],
  });
  return `${certificate.toString("pem")}\n`;
}

/** A private key as PKCS#8 PEM. */
export function privateKeyPem(key: SigningKey): string {
  const object: KeyObject = privateKeyFromRaw("Ed25519", key.seed);
  return object.export({ format: "pem", type: "pkcs8" }) as string;
}

/** What a certificate says of itself. @throws when the text is no certificate */
export function readCertificate(pem: string): {
  subject: string;
  issuer: string;
  notBeforeMs: number;
  notAfterMs: number;
} {
  const certificate = new X509Certificate(pem);
  return {
    subject: commonName(certificate.subject),
    issuer: commonName(certificate.issuer),
    notBeforeMs: Date.parse(certificate.validFrom),
    notAfterMs: Date.parse(certificate.validTo),
  };
}

function commonName(distinguished: string): string {
  return /^CN=(.*)$/m.exec(distinguished)?.[1] ?? distinguished;
}

function distinguishedName({
  commonName: cn,
  organization,
}: CertificateRequest["subject"]): Record<string, string[]>[] {
  return [{ O: [organization] }, { CN: [cn] }];
}

function serialNumber(bytes: Uint8Array): string {
  const serial = Buffer.from(bytes);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  return serial.toString("hex");
}

function importPrivate(key: SigningKey): Promise<webcrypto.CryptoKey> {
  const der = privateKeyFromRaw("Ed25519", key.seed).export({ format: "der", type: "pkcs8" });
  return globalThis.crypto.subtle.importKey("pkcs8", der, { name: "Ed25519" }, false, ["sign"]);
}

function importPublic(raw: Uint8Array): Promise<webcrypto.CryptoKey> {
  return globalThis.crypto.subtle.importKey("raw", Buffer.from(raw), { name: "Ed25519" }, true, ["verify"]);
}

import { freshBytes, freshRsaKey } from "../host/random.ts";
import type { SecureBootKey, Vault } from "./types.ts";

/** RSA-2048 because UEFI firmware is only required to know that size. */
const modulusBits = 2048;
const algorithm = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" } as const;

// Fixed and wide: firmware has no trustworthy clock, and a certificate must not end before the machines do. 2049 is
// the last year that every X.509 reader writes and reads alike (RFC 5280, 4.1.2.5).
const notBefore = new Date("2020-01-01T00:00:00Z");
const notAfter = new Date("2049-12-31T23:59:59Z");

/** Fresh platform, key exchange and signature database keys, self-signed. `label` tells foundries apart. */
export async function makeSecureBootKeys(label: string): Promise<Vault["secureBoot"]> {
  const [pk, kek, db] = await Promise.all([
    makeKey(`kubedos platform key ${label}`),
    makeKey(`kubedos key exchange key ${label}`),
    makeKey(`kubedos signature database key ${label}`),
  ]);
  return { pk, kek, db };
}

async function makeKey(commonName: string): Promise<SecureBootKey> {
  // @peculiar/x509 needs the metadata polyfill to be there first.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const pkcs8 = await freshRsaKey(modulusBits);
  const subtle = globalThis.crypto.subtle;
  const privateKey = await subtle.importKey("pkcs8", pkcs8, algorithm, true, ["sign"]);
  const { n, e } = await subtle.exportKey("jwk", privateKey);
  const publicKey = await subtle.importKey("jwk", { kty: "RSA", n: n!, e: e! }, algorithm, true, ["verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${commonName}`,
    serialNumber: serialNumber(),
    notBefore,
    notAfter,
    keys: { privateKey, publicKey },
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.codeSigning]),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
    ],
  });
  return { key: toPem(pkcs8), certificate: `${certificate.toString("pem")}\n` };
}

/** 16 bytes, positive and without a leading zero (RFC 5280, 4.1.2.2), in hex. */
function serialNumber(): string {
  const bytes = freshBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString("hex");
}

function toPem(pkcs8: Buffer): string {
  const lines = pkcs8.toString("base64").match(/.{1,64}/g)!;
  return ["-----BEGIN PRIVATE KEY-----", ...lines, "-----END PRIVATE KEY-----", ""].join("\n");
}

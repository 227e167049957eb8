import { createHash, createPublicKey, verify, X509Certificate } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import { der, derValues, oid, tags } from "./der.ts";

/**
 * Authenticode signatures of PE images, as UEFI firmware checks them: the bytes that `sbsign` makes, with the key's
 * operation left to whoever has the key. Signing time is given, so the same image and key give the same bytes.
 * "Windows Authenticode Portable Executable Signature Format" (2008) and RFC 2315 (PKCS #7).
 */

const spcIndirectData = oid("1.3.6.1.4.1.311.2.1.4");
const nothing = Buffer.from([0x05, 0x00]);
const sha256Algorithm = der(tags.sequence, oid("2.16.840.1.101.3.4.2.1"), nothing);
const rsaAlgorithm = der(tags.sequence, oid("1.2.840.113549.1.1.1"), nothing);

/** What OpenSSL, and so sbsign, says about itself in every signature (RFC 8551, 2.5.2): ciphers, and RC2 in three sizes. */
const capabilities = der(
  tags.sequence,
  ...["2.16.840.1.101.3.4.1.42", "2.16.840.1.101.3.4.1.22", "2.16.840.1.101.3.4.1.2", "1.2.840.113549.3.7"].map(
    (cipher) => der(tags.sequence, oid(cipher)),
  ),
  rc2(0x80, 2),
  rc2(0x40, 1),
  der(tags.sequence, oid("1.3.14.3.2.7")),
  rc2(0x28, 1),
);

function rc2(bits: number, bytes: 1 | 2): Buffer {
  const value = bytes === 2 ? Buffer.from([0, bits]) : Buffer.from([bits]);
  return der(tags.sequence, oid("1.2.840.113549.3.2"), der(tags.integer, value));
}

const checksumAt = 64;
const certificateDirectoryAt = 144;
const winCertificateBytes = 8;

/**
 * The message that the owner of the certificate's key signs (RSA PKCS #1 v1.5 with SHA-256) to sign the image.
 *
 * @param epoch signing time, seconds since 1970
 */
export function authenticodeMessage(image: Buffer, epoch: number): Buffer {
  return der(tags.set, ...attributes(image, epoch));
}

/**
 * The detached signature (PKCS #7, DER) from the raw signature over `authenticodeMessage`.
 *
 * @throws KubedosError when the raw signature is not by the certificate's key over this image
 */
export function authenticodeSignature(
  image: Buffer,
  certificatePem: string,
  epoch: number,
  rawSignature: Uint8Array,
): Buffer {
  const { raw: certificate } = new X509Certificate(certificatePem);
  const message = authenticodeMessage(image, epoch);
  if (!verify("sha256", message, createPublicKey(certificatePem), rawSignature)) {
    throw new KubedosError("failed", "the signature of the boot image is not by the Secure Boot certificate's key", {
      hint: "it must be RSA PKCS #1 v1.5 with SHA-256 over exactly the bytes that were handed out",
    });
  }
  const signer = der(
    tags.sequence,
    der(tags.integer, Buffer.from([1])),
    issuerAndSerial(certificate),
    sha256Algorithm,
    der(0xa0, ...attributes(image, epoch)),
    rsaAlgorithm,
    der(tags.octets, rawSignature),
  );
  const signed = der(
    tags.sequence,
    der(tags.integer, Buffer.from([1])),
    der(tags.set, sha256Algorithm),
    der(tags.sequence, spcIndirectData, der(0xa0, indirectData(image))),
    der(0xa0, certificate),
    der(tags.set, signer),
  );
  return der(tags.sequence, oid("1.2.840.113549.1.7.2"), der(0xa0, signed));
}

/**
 * The image with a detached signature attached: certificate table, its directory entry, and the checksum that goes
 * with it.
 *
 * @throws KubedosError when the signature is not one of this image, or the image is signed already
 */
export function attachSignature(image: Buffer, signature: Buffer): Buffer {
  if (signatureTable(image) !== undefined) {
    throw new KubedosError("failed", "the boot image has a signature already");
  }
  return addSignature(image, signature);
}

/**
 * The image with one more signature: firmware starts it when it trusts any of them.
 *
 * @throws KubedosError when the signature is not one of this image
 */
export function addSignature(image: Buffer, signature: Buffer): Buffer {
  const optional = optionalHeader(image);
  if (!signedDigest(signature).equals(imageDigest(image))) {
    throw new KubedosError("failed", "the signature is of another boot image", {
      hint: "the build that it was made for had another spec, lock or version of kubedos",
    });
  }
  const entryAt = align(image.length, 8);
  const entryBytes = align(winCertificateBytes + signature.length, 8);
  const table = signatureTable(image) ?? { at: entryAt, sizeBytes: 0 };
  const result = Buffer.alloc(entryAt + entryBytes);
  image.copy(result);
  result.writeUInt32LE(winCertificateBytes + signature.length, entryAt);
  result.writeUInt16LE(0x0200, entryAt + 4); // revision 2.0
  result.writeUInt16LE(0x0002, entryAt + 6); // PKCS #7
  signature.copy(result, entryAt + winCertificateBytes);
  result.writeUInt32LE(table.at, optional + certificateDirectoryAt);
  result.writeUInt32LE(table.sizeBytes + entryBytes, optional + certificateDirectoryAt + 4);
  result.writeUInt32LE(checksum(result, optional + checksumAt), optional + checksumAt);
  return result;
}

/** contentType, signingTime, messageDigest and S/MIME capabilities, in the order of DER's SET OF. */
function attributes(image: Buffer, epoch: number): Buffer[] {
  const [type, value] = derValues(derValues(indirectData(image))[0]!.content);
  const digest = createHash("sha256").update(type!.whole).update(value!.whole).digest();
  const attribute = (id: string, content: Buffer) => der(tags.sequence, oid(id), der(tags.set, content));
  return [
    attribute("1.2.840.113549.1.9.3", spcIndirectData),
    attribute("1.2.840.113549.1.9.5", der(tags.utcTime, Buffer.from(utcTime(epoch)))),
    attribute("1.2.840.113549.1.9.4", der(tags.octets, digest)),
    attribute("1.2.840.113549.1.9.15", capabilities),
  ];
}

/** SpcIndirectDataContent: "this is a PE image", and its digest. */
function indirectData(image: Buffer): Buffer {
  const link = der(0xa0, der(0xa2, der(0x80, Buffer.from("<<<Obsolete>>>", "utf16le").swap16())));
  const data = der(tags.sequence, Buffer.from([0x03, 0x01, 0x00]), link);
  return der(
    tags.sequence,
    der(tags.sequence, oid("1.3.6.1.4.1.311.2.1.15"), data),
    der(tags.sequence, sha256Algorithm, der(tags.octets, imageDigest(image))),
  );
}

/** Where the signatures of a signed image are: at its end. */
function signatureTable(image: Buffer): { at: number; sizeBytes: number } | undefined {
  const directory = optionalHeader(image) + certificateDirectoryAt;
  const [at, sizeBytes] = [image.readUInt32LE(directory), image.readUInt32LE(directory + 4)];
  if (at === 0) return undefined;
  if (at + sizeBytes === image.length && at % 8 === 0) return { at, sizeBytes };
  throw new KubedosError("failed", "the signatures of a signed image are not at its end");
}

/** SHA-256 of an image without the fields that signing changes and the signatures, filled up to a multiple of 8 bytes. */
function imageDigest(image: Buffer): Buffer {
  const optional = optionalHeader(image);
  const end = signatureTable(image)?.at ?? image.length;
  return createHash("sha256")
    .update(image.subarray(0, optional + checksumAt))
    .update(image.subarray(optional + checksumAt + 4, optional + certificateDirectoryAt))
    .update(image.subarray(optional + certificateDirectoryAt + 8, end))
    .update(Buffer.alloc(align(end, 8) - end))
    .digest();
}

function signedDigest(signature: Buffer): Buffer {
  try {
    const [contentInfo] = derValues(signature);
    const signed = derValues(derValues(derValues(contentInfo!.content)[1]!.content)[0]!.content);
    const indirect = derValues(derValues(derValues(signed[2]!.content)[1]!.content)[0]!.content);
    return derValues(indirect[1]!.content)[1]!.content;
  } catch (cause) {
    throw new KubedosError("failed", "this is not a detached Authenticode signature (PKCS #7, DER)", { cause });
  }
}

/** IssuerAndSerialNumber of a certificate (RFC 5280, 4.1). */
function issuerAndSerial(certificate: Buffer): Buffer {
  const fields = derValues(derValues(derValues(certificate)[0]!.content)[0]!.content);
  const [serial, , issuer] = fields[0]!.tag === 0xa0 ? fields.slice(1) : fields;
  return der(tags.sequence, issuer!.whole, serial!.whole);
}

/** Sum of the 16-bit words with the carry added back, without the checksum itself, and the size of the file. */
function checksum(image: Buffer, without: number): number {
  let sum = 0;
  const words = new DataView(image.buffer, image.byteOffset, image.length);
  for (let at = 0; at + 1 < image.length; at += 2) sum += words.getUint16(at, true);
  if (image.length % 2 === 1) sum += image[image.length - 1]!;
  sum -= words.getUint16(without, true) + words.getUint16(without + 2, true);
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return (sum + image.length) >>> 0;
}

/** `YYMMDDhhmmssZ`, for the years 1950 to 2049. */
function utcTime(epoch: number): string {
  return new Date(epoch * 1000).toISOString().slice(2, 19).replaceAll(/[-:T]/g, "").concat("Z");
}

function optionalHeader(image: Buffer): number {
  return image.readUInt32LE(0x3c) + 24;
}

function align(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

import { createHash, sign, type Hash } from "node:crypto";
import { privateKeyFromRaw } from "./raw-keys.ts";
import type { SigningKey } from "./types.ts";

/**
 * OpenPGP version 4 certificates and signatures with Ed25519, as apt's verifiers (gpgv, sqv) read them: RFC 9580, with
 * the public-key algorithm 22 (EdDSALegacy), which GnuPG 2.2 knows too. Only the packets are made here; hashes and
 * signatures are node:crypto's.
 */

/** A key with what identifies it: a fingerprint covers the time of creation. */
export interface OpenpgpKey extends SigningKey {
  /** Seconds since 1970. */
  createdAt: number;
  userId: string;
}

const version = 4;
const eddsaLegacy = 22;
const sha512 = 10;
/** Object identifier of Ed25519 in this algorithm: 1.3.6.1.4.1.11591.15.1, with its length. */
const curve = Buffer.from("092b06010401da470f01", "hex");

const packetTypes = { signature: 2, publicKey: 6, userId: 13 } as const;
const signatureTypes = { binary: 0x00, text: 0x01, positiveCertification: 0x13 } as const;
const subpackets = { creationTime: 2, issuer: 16, keyFlags: 27, issuerFingerprint: 33 } as const;
const mayCertifyAndSign = 0x03;

/** The certificate in binary form: key, user id, self-signature. Deterministic. */
export function openpgpCertificate(key: OpenpgpKey): Buffer {
  const userId = Buffer.from(key.userId);
  const signed = (hash: Hash) =>
    hash
      .update(hashedKey(key))
      .update(Buffer.from([0xb4]))
      .update(uint32(userId.length))
      .update(userId);
  const flags = subpacket(subpackets.keyFlags, Buffer.from([mayCertifyAndSign]));
  const selfSignature = signaturePacket(key, signatureTypes.positiveCertification, key.createdAt, [flags], signed);
  return Buffer.concat([
    packet(packetTypes.publicKey, keyBody(key)),
    packet(packetTypes.userId, userId),
    selfSignature,
  ]);
}

/** The certificate as a keyring file `.asc`, which apt takes in `Signed-By`. */
export function openpgpArmoredCertificate(key: OpenpgpKey): string {
  return armor("PUBLIC KEY BLOCK", openpgpCertificate(key));
}

/** 40 upper-case hexadecimal digits. */
export function openpgpFingerprint(key: OpenpgpKey): string {
  return fingerprint(key).toString("hex").toUpperCase();
}

/** Armored detached signature over bytes (`Release.gpg`). Deterministic. `at`: seconds since 1970. */
export function openpgpSign(key: OpenpgpKey, message: Uint8Array, at: number): string {
  return armor(
    "SIGNATURE",
    signaturePacket(key, signatureTypes.binary, at, [], (hash) => hash.update(message)),
  );
}

/** The text inside a cleartext signature (`InRelease`). Deterministic. `at`: seconds since 1970. */
export function openpgpClearsign(key: OpenpgpKey, text: string, at: number): string {
  const lines = text.replace(/\n$/, "").split("\n");
  // Section 7: signed are the lines without trailing white space, joined by CR LF, without the last line's end.
  const canonical = lines.map((line) => line.replace(/[ \t\r]+$/, "")).join("\r\n");
  const signature = signaturePacket(key, signatureTypes.text, at, [], (hash) => hash.update(canonical));
  const escaped = lines.map((line) => (line.startsWith("-") ? `- ${line}` : line)).join("\n");
  return `-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n${escaped}\n${armor("SIGNATURE", signature)}`;
}

/** Section 5.2.3: version 4 signature over what `update` hashes. */
function signaturePacket(
  key: OpenpgpKey,
  type: number,
  at: number,
  more: readonly Buffer[],
  update: (hash: Hash) => Hash,
): Buffer {
  const issuer = fingerprint(key);
  const hashed = Buffer.concat([
    subpacket(subpackets.creationTime, uint32(at)),
    subpacket(subpackets.issuerFingerprint, Buffer.concat([Buffer.from([version]), issuer])),
    ...more,
  ]);
  const head = Buffer.concat([Buffer.from([version, type, eddsaLegacy, sha512]), uint16(hashed.length), hashed]);
  const hash = update(createHash("sha512")).update(head);
  const digest = hash
    .update(Buffer.from([version, 0xff]))
    .update(uint32(head.length))
    .digest();
  const signature = sign(null, digest, privateKeyFromRaw("Ed25519", key.seed));
  const unhashed = subpacket(subpackets.issuer, issuer.subarray(-8));
  return packet(
    packetTypes.signature,
    Buffer.concat([
      head,
      uint16(unhashed.length),
      unhashed,
      digest.subarray(0, 2),
      multiprecision(signature.subarray(0, 32)),
      multiprecision(signature.subarray(32)),
    ]),
  );
}

/** Section 5.5.2: the body of a version 4 public key packet. The point has the prefix 0x40 ("native"). */
function keyBody(key: OpenpgpKey): Buffer {
  const point = Buffer.concat([Buffer.from([0x40]), key.publicKey]);
  return Buffer.concat([
    Buffer.from([version]),
    uint32(key.createdAt),
    Buffer.from([eddsaLegacy]),
    curve,
    multiprecision(point),
  ]);
}

function hashedKey(key: OpenpgpKey): Buffer {
  const body = keyBody(key);
  return Buffer.concat([Buffer.from([0x99]), uint16(body.length), body]);
}

/** Section 5.5.4.2: SHA-1 names the key here and protects nothing. */
function fingerprint(key: OpenpgpKey): Buffer {
  return createHash("sha1").update(hashedKey(key)).digest();
}

/** Section 4.2.1: OpenPGP format header. */
function packet(type: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0xc0 | type]), length(body.length), body]);
}

function subpacket(type: number, body: Buffer): Buffer {
  return Buffer.concat([length(body.length + 1), Buffer.from([type]), body]);
}

/** Sections 4.2.1 and 5.2.3.7: lengths up to 191 take one byte, up to 8383 two. */
function length(value: number): Buffer {
  if (value < 192) return Buffer.from([value]);
  if (value < 8384) return uint16(value - 192 + (192 << 8));
  return Buffer.concat([Buffer.from([0xff]), uint32(value)]);
}

/** Section 3.2: length in bits, then the number without leading zero bytes. */
function multiprecision(bytes: Uint8Array): Buffer {
  const start = bytes.findIndex((byte) => byte !== 0);
  const number = start === -1 ? Buffer.alloc(0) : Buffer.from(bytes.subarray(start));
  const bits = number.length === 0 ? 0 : number.length * 8 - (Math.clz32(number[0]!) - 24);
  return Buffer.concat([uint16(bits), number]);
}

/** Section 6.2; the checksum that older versions of the format had is optional there too. */
function armor(what: string, bytes: Buffer): string {
  const lines = bytes.toString("base64").match(/.{1,64}/g)!;
  return [`-----BEGIN PGP ${what}-----`, "", ...lines, `-----END PGP ${what}-----`, ""].join("\n");
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** The bytes inside of ASCII armor (RFC 9580, 6.2); a checksum line is passed over. */
export function openpgpDearmor(text: string): Buffer {
  const body = /^-----BEGIN [^\n]*\n(?:[^\n]+: [^\n]*\n)*\n([^-]*)^-----END /m.exec(text)?.[1] ?? "";
  return Buffer.from(body.replace(/^=.*$/m, ""), "base64");
}

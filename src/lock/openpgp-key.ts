import { createHash } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";

/**
 * Fingerprints of the primary keys in an ASCII armored OpenPGP text, upper-case hexadecimal, sorted. Read to name them
 * only: what they have signed is checked by apt. RFC 9580, sections 4.2, 5.5.4 and 6.2.
 *
 * @throws KubedosError code "spec" when there is no public key in it
 */
export function keyFingerprints(armored: string, what: string): string[] {
  const blocks = armored.matchAll(
    /-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\r\n]+: [^\r\n]*\r?\n)*\r?\n([A-Za-z0-9+/=\s]+?)-----END PGP PUBLIC KEY BLOCK-----/g,
  );
  const found = new Set<string>();
  for (const [, body] of blocks) {
    // The line that starts with = is a checksum, of no use beside the fingerprint.
    const base64 = body!.replaceAll(/^=[A-Za-z0-9+/]{4}\s*$/gm, "").replaceAll(/\s/g, "");
    for (const packet of packets(Buffer.from(base64, "base64"))) {
      if (packet.tag === publicKeyTag) found.add(fingerprint(packet.body));
    }
  }
  if (found.size > 0) return [...found].toSorted();
  throw new KubedosError("spec", `${what}: there is no OpenPGP public key in it`, {
    hint: "give the key that signs the repository, ASCII armored (-----BEGIN PGP PUBLIC KEY BLOCK-----)",
  });
}

/** A binary key as the armored text that apt reads from a `.asc` file. */
export function armorKey(bytes: Buffer): string {
  const lines = bytes.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n${lines.join("\n")}\n-----END PGP PUBLIC KEY BLOCK-----\n`;
}

const publicKeyTag = 6;

function fingerprint(body: Buffer): string {
  const version = body[0];
  const length = Buffer.alloc(version === 4 ? 2 : 4);
  if (version === 4) length.writeUInt16BE(body.length);
  else length.writeUInt32BE(body.length);
  const mark = { 4: 0x99, 5: 0x9a, 6: 0x9b }[version ?? 0];
  if (mark === undefined) return `VERSION${version}`;
  const hash = createHash(version === 4 ? "sha1" : "sha256");
  return hash
    .update(Buffer.from([mark]))
    .update(length)
    .update(body)
    .digest("hex")
    .toUpperCase();
}

function* packets(bytes: Buffer): Generator<{ tag: number; body: Buffer }> {
  for (let at = 0; at < bytes.length;) {
    const first = bytes[at]!;
    if ((first & 0x80) === 0) return;
    const header = (first & 0x40) === 0 ? oldHeader(bytes, at) : newHeader(bytes, at);
    if (header === undefined || header.start + header.length > bytes.length) return;
    yield { tag: header.tag, body: bytes.subarray(header.start, header.start + header.length) };
    at = header.start + header.length;
  }
}

interface Header {
  tag: number;
  start: number;
  length: number;
}

function oldHeader(bytes: Buffer, at: number): Header | undefined {
  const size = [1, 2, 4][bytes[at]! & 3];
  if (size === undefined || at + 1 + size > bytes.length) return undefined;
  return { tag: (bytes[at]! >> 2) & 15, start: at + 1 + size, length: bytes.readUIntBE(at + 1, size) };
}

function newHeader(bytes: Buffer, at: number): Header | undefined {
  const tag = bytes[at]! & 63;
  const first = bytes[at + 1] ?? 224;
  if (first < 192) return { tag, start: at + 2, length: first };
  if (first < 224) return { tag, start: at + 3, length: ((first - 192) << 8) + (bytes[at + 2] ?? 0) + 192 };
  // Parts of unknown total length occur in data packets only.
  return first === 255 && at + 6 <= bytes.length
    ? { tag, start: at + 6, length: bytes.readUInt32BE(at + 2) }
    : undefined;
}

/**
 * The little of ASN.1's distinguished encoding rules that Authenticode needs. ITU-T X.690:
 * https://www.itu.int/rec/T-REC-X.690
 */

/** Tags, with the bit for constructed types. */
export const tags = { integer: 0x02, octets: 0x04, oid: 0x06, sequence: 0x30, set: 0x31, utcTime: 0x17 } as const;

/** One value: tag, length, content. */
export function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(content);
  if (body.length < 0x80) return Buffer.concat([Buffer.from([tag, body.length]), body]);
  const digits = body.length.toString(16);
  const length = Buffer.from(digits.padStart(digits.length + (digits.length % 2), "0"), "hex");
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, body]);
}

/** An object identifier from its dotted form. */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const groups = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift(0x80 | (left & 0x7f));
    return groups;
  });
  return der(tags.oid, Buffer.from(bytes));
}

/** One value in a buffer: its whole encoding, and its content. */
export interface DerValue {
  tag: number;
  whole: Buffer;
  content: Buffer;
}

/**
 * The values that follow one another in a buffer.
 *
 * @throws Error when one of them is cut
 */
export function derValues(bytes: Buffer): DerValue[] {
  const values: DerValue[] = [];
  for (let at = 0; at < bytes.length;) {
    const short = bytes[at + 1] ?? 0;
    const lengthBytes = short < 0x80 ? 0 : short & 0x7f;
    if (lengthBytes > 4 || at + 2 + lengthBytes > bytes.length) throw new Error("a DER value is cut");
    const length = lengthBytes === 0 ? short : bytes.readUIntBE(at + 2, lengthBytes);
    const contentAt = at + 2 + lengthBytes;
    if (contentAt + length > bytes.length) throw new Error("a DER value is cut");
    values.push({
      tag: bytes[at]!,
      whole: bytes.subarray(at, contentAt + length),
      content: bytes.subarray(contentAt, contentAt + length),
    });
    at = contentAt + length;
  }
  return values;
}

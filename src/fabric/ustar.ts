import { KubedosError } from "../../shared/error.ts";

/** A regular file in an archive. */
export interface Member {
  name: string;
  content: Uint8Array;
}

const block = 512;

/**
 * A ustar archive (POSIX.1-2017, pax, "ustar Interchange Format") of regular files, root:root 0600, dated 1970, in
 * the order given. The same members give the same bytes.
 *
 * @throws KubedosError when a name has more than 100 bytes
 */
export function writeUstar(members: readonly Member[]): Buffer {
  const parts: Buffer[] = [];
  for (const { name, content } of members) {
    parts.push(header(name, content.length), Buffer.from(content), Buffer.alloc(padding(content.length)));
  }
  return Buffer.concat([...parts, Buffer.alloc(2 * block)]);
}

/**
 * Reads what `writeUstar` writes, and nothing else: links, directories and wrong checksums are errors.
 *
 * @throws KubedosError
 */
export function readUstar(archive: Uint8Array): Member[] {
  const bytes = Buffer.from(archive.buffer, archive.byteOffset, archive.length);
  const members: Member[] = [];
  let offset = 0;
  for (;;) {
    const head = bytes.subarray(offset, offset + block);
    if (head.length < block) throw unreadable("it is cut off");
    if (head.every((byte) => byte === 0)) return members;
    const name = head.toString("utf8", 0, 100).replace(/\0.*$/s, "");
    const sizeBytes = Number.parseInt(head.toString("latin1", 124, 135), 8);
    if (!head.equals(header(name, sizeBytes))) throw unreadable("it has a header that is not ours");
    const end = offset + block + sizeBytes;
    if (end > bytes.length) throw unreadable("it is cut off");
    members.push({ name, content: bytes.subarray(offset + block, end) });
    offset = end + padding(sizeBytes);
  }
}

function header(name: string, sizeBytes: number): Buffer {
  const head = Buffer.alloc(block);
  if (Buffer.byteLength(name) > 100) throw new KubedosError("failed", `the name ${name} is too long for an archive`);
  head.write(name, 0);
  head.write(octal(0o600, 7), 100);
  head.write(octal(0, 7), 108); // owner
  head.write(octal(0, 7), 116); // group
  head.write(octal(sizeBytes, 11), 124);
  head.write(octal(0, 11), 136); // time
  head.write("        ", 148); // the checksum counts as spaces
  head.write("0", 156); // regular file
  head.write("ustar\x0000", 257);
  head.write("root", 265);
  head.write("root", 297);
  const sum = head.reduce((total, byte) => total + byte, 0);
  head.write(`${octal(sum, 6)} `, 148);
  return head;
}

/** `width` digits and a NUL. */
function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width, "0")}\0`;
}

function padding(sizeBytes: number): number {
  return (block - (sizeBytes % block)) % block;
}

function unreadable(why: string): KubedosError {
  return new KubedosError("failed", `the archive cannot be read: ${why}`);
}

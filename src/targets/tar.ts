import { KubedosError } from "../../shared/error.ts";

/** Bytes of a tar block. */
export const tarBlock = 512;

/** A run of data in a sparse file. */
export interface Extent {
  firstByte: number;
  sizeBytes: number;
}

/** What follows a member's data to a whole block, in bytes. */
export function tarPadding(sizeBytes: number): number {
  return (tarBlock - (sizeBytes % tarBlock)) % tarBlock;
}

/** The end of an archive: two blocks of zeros. */
export const tarEnd = Buffer.alloc(2 * tarBlock);

/**
 * Header of a regular file of root:root (POSIX.1-2017, pax, "ustar Interchange Format"). A long name is divided at
 * a slash into prefix and name.
 *
 * @throws KubedosError when the name cannot be divided into 155 and 100 bytes, or the file has 8 GiB or more
 */
export function ustarHeader(name: string, sizeBytes: number, epoch: number, mode = 0o644): Buffer {
  const cut = Buffer.byteLength(name) <= 100 ? -1 : name.indexOf("/", Math.max(0, name.length - 101));
  const head = commonHeader(name.slice(cut + 1), octal(sizeBytes, 11), epoch, mode);
  head.write("0", 156);
  head.write("ustar\x0000", 257);
  const prefix = name.slice(0, Math.max(0, cut));
  if (Buffer.byteLength(prefix) > 155) throw new KubedosError("failed", `the name ${name} is too long for an archive`);
  head.write(prefix, 345);
  return sealed(head);
}

/**
 * Headers of a sparse file in GNU tar's old format (`tar --format=oldgnu -S`): the data of the extents follows, one
 * after the other. Each extent begins at and has a multiple of 512 bytes.
 *
 * GNU tar manual, "Old GNU Format": four extents in the header, 21 in each block that follows.
 * @see https://www.gnu.org/software/tar/manual/html_node/Old-GNU-Format.html
 */
export function oldGnuSparseHeader(name: string, sizeBytes: number, extents: readonly Extent[], epoch: number): Buffer {
  // The last entry says where the file ends, also where that is in a hole.
  const map = [...extents, { firstByte: sizeBytes, sizeBytes: 0 }];
  const stored = extents.reduce((total, extent) => total + extent.sizeBytes, 0);
  const head = commonHeader(name, sizeField(stored), epoch, 0o644);
  head.write("S", 156);
  head.write("ustar  \0", 257);
  writeMap(head, 386, map.slice(0, 4));
  head.write(map.length > 4 ? "\x01" : "\0", 482, "latin1");
  sizeField(sizeBytes).copy(head, 483);
  const blocks = [sealed(head)];
  for (let at = 4; at < map.length; at += 21) {
    const block = Buffer.alloc(tarBlock);
    writeMap(block, 0, map.slice(at, at + 21));
    block.write(map.length > at + 21 ? "\x01" : "\0", 504, "latin1");
    blocks.push(block);
  }
  return Buffer.concat(blocks);
}

function commonHeader(name: string, size: Buffer, epoch: number, mode: number): Buffer {
  const head = Buffer.alloc(tarBlock);
  if (Buffer.byteLength(name) > 100) throw new KubedosError("failed", `the name ${name} is too long for an archive`);
  head.write(name, 0);
  octal(mode, 7).copy(head, 100);
  octal(0, 7).copy(head, 108); // owner
  octal(0, 7).copy(head, 116); // group
  size.copy(head, 124);
  octal(epoch, 11).copy(head, 136);
  head.write("        ", 148); // the checksum counts as spaces
  head.write("root", 265);
  head.write("root", 297);
  return head;
}

function sealed(head: Buffer): Buffer {
  const sum = head.reduce((total, byte) => total + byte, 0);
  octal(sum, 6).copy(head, 148);
  return head;
}

function writeMap(block: Buffer, at: number, map: readonly Extent[]): void {
  map.forEach((extent, index) => {
    sizeField(extent.firstByte).copy(block, at + index * 24);
    sizeField(extent.sizeBytes).copy(block, at + index * 24 + 12);
  });
}

/** Octal, or GNU's base-256 for what 11 digits cannot hold. */
function sizeField(value: number): Buffer {
  if (value < 8 ** 11) return octal(value, 11);
  const bytes = Buffer.alloc(12);
  bytes[0] = 0x80;
  bytes.writeBigUInt64BE(BigInt(value), 4);
  return bytes;
}

/** `width` digits and a NUL. */
function octal(value: number, width: number): Buffer {
  const digits = value.toString(8).padStart(width, "0");
  if (digits.length > width) {
    throw new KubedosError("failed", `${value} is too large for ${width} octal digits of an archive's header`);
  }
  return Buffer.from(`${digits}\0`, "latin1");
}

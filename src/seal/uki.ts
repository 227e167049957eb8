import { KubedosError } from "../../shared/error.ts";

/** systemd-stub in the foundry root. */
export const ukiStub = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/**
 * Unified kernel images: sections added to systemd's EFI stub.
 * https://uapi-group.org/specifications/specs/unified_kernel_image/ and the PE format,
 * https://learn.microsoft.com/windows/win32/debug/pe-format
 */
export interface UkiSection {
  /** At most 8 ASCII characters, e.g. `.linux`. */
  name: string;
  content: Uint8Array;
}

const sectionHeaderBytes = 40;
const initializedData = 0x40;
const readable = 0x4000_0000;
const addressEnd = 0x8000_0000;

/**
 * The stub with the sections appended in order. Unsigned; the same input gives the same bytes.
 *
 * @throws KubedosError when the stub is not a whole PE32+ image, or has no room for the sections' headers
 */
export function buildUki(stub: Uint8Array, sections: readonly UkiSection[]): Buffer {
  const pe = readHeaders(stub);
  const headerEnd = pe.sectionTable + (pe.sectionCount + sections.length) * sectionHeaderBytes;
  if (headerEnd > Math.min(pe.sizeOfHeaders, pe.rawStart)) {
    throw new KubedosError("failed", `the EFI stub has no room for ${sections.length} more sections`);
  }
  const image = [Buffer.from(stub.subarray(0, pe.rawEnd))];
  let rawOffset = align(pe.rawEnd, pe.fileAlignment);
  image.push(Buffer.alloc(rawOffset - pe.rawEnd));
  let address = align(pe.virtualEnd, pe.sectionAlignment);
  if (address > addressEnd) throw new KubedosError("failed", "not a PE32+ image: impossible addresses");
  const headers: Buffer[] = [];
  for (const { name, content } of sections) {
    if (!/^[!-~]{1,8}$/.test(name)) throw new KubedosError("failed", `not a name of a PE section: ${name}`);
    const rawSize = align(content.length, pe.fileAlignment);
    const header = Buffer.alloc(sectionHeaderBytes);
    header.write(name, 0, 8, "latin1");
    header.writeUInt32LE(content.length, 8); // VirtualSize
    header.writeUInt32LE(address, 12);
    header.writeUInt32LE(rawSize, 16);
    header.writeUInt32LE(rawOffset, 20);
    header.writeUInt32LE((initializedData | readable) >>> 0, 36);
    headers.push(header);
    image.push(Buffer.from(content), Buffer.alloc(rawSize - content.length));
    rawOffset += rawSize;
    address = align(address + content.length, pe.sectionAlignment);
    if (address > addressEnd) throw new KubedosError("failed", "the boot image is larger than a PE image may be");
  }
  const result = Buffer.concat(image);
  Buffer.concat(headers).copy(result, pe.sectionTable + pe.sectionCount * sectionHeaderBytes);
  result.writeUInt16LE(pe.sectionCount + sections.length, pe.coff + 2);
  result.writeUInt32LE(address, pe.optional + 56); // SizeOfImage
  result.writeUInt32LE(0, pe.optional + 64); // CheckSum
  return result;
}

/**
 * Sections of a UKI or any PE image by name: offset and size in the file, in bytes.
 *
 * @throws KubedosError when it is not a whole PE32+ image
 */
export function readSections(image: Uint8Array): { name: string; offset: number; sizeBytes: number }[] {
  const pe = readHeaders(image);
  const view = Buffer.from(image.buffer, image.byteOffset, image.byteLength);
  return Array.from({ length: pe.sectionCount }, (_, index) => {
    const at = pe.sectionTable + index * sectionHeaderBytes;
    return {
      name: sectionName(view, pe.coff, view.toString("latin1", at, at + 8).replace(/\0+$/, "")),
      offset: view.readUInt32LE(at + 20),
      sizeBytes: Math.min(view.readUInt32LE(at + 8), view.readUInt32LE(at + 16)),
    };
  });
}

/** Names of more than 8 characters are in the string table behind the symbols: `/4`. */
function sectionName(view: Buffer, coff: number, name: string): string {
  if (!/^\/\d+$/.test(name)) return name;
  const from = view.readUInt32LE(coff + 8) + 18 * view.readUInt32LE(coff + 12) + Number(name.slice(1));
  const end = view.indexOf(0, from);
  return from >= view.length || end < 0 || end - from > 64 ? name : view.toString("latin1", from, end);
}

function readHeaders(image: Uint8Array) {
  const view = Buffer.from(image.buffer, image.byteOffset, image.byteLength);
  const word = (at: number) => {
    if (at + 4 > view.length) throw bad("truncated");
    return view.readUInt32LE(at);
  };
  const bad = (what: string) => new KubedosError("failed", `not a PE32+ image: ${what}`);
  if (view.length < 0x40 || view.toString("latin1", 0, 2) !== "MZ") throw bad("no MZ header");
  const coff = word(0x3c) + 4;
  if (coff + 20 > view.length || view.toString("latin1", coff - 4, coff) !== "PE\0\0") throw bad("no PE header");
  const sectionCount = view.readUInt16LE(coff + 2);
  const optional = coff + 20;
  const sectionTable = optional + view.readUInt16LE(coff + 16);
  // The fixed part of a PE32+ optional header has 112 bytes.
  if (sectionTable < optional + 112 || sectionTable + sectionCount * sectionHeaderBytes > view.length)
    throw bad("truncated");
  if ((word(optional) & 0xffff) !== 0x20b) throw bad("not 64-bit");
  const sectionAlignment = word(optional + 32);
  const fileAlignment = word(optional + 36);
  if (![sectionAlignment, fileAlignment].every(isAlignment)) throw bad("impossible alignment");
  const sizeOfHeaders = word(optional + 60);
  if (sizeOfHeaders > view.length) throw bad("truncated");
  let rawStart = view.length;
  let rawEnd = sizeOfHeaders;
  let virtualEnd = sizeOfHeaders;
  for (let index = 0; index < sectionCount; index++) {
    const at = sectionTable + index * sectionHeaderBytes;
    const [virtualSize, address, rawSize, rawOffset] = [word(at + 8), word(at + 12), word(at + 16), word(at + 20)];
    virtualEnd = Math.max(virtualEnd, address + virtualSize);
    if (rawSize === 0) continue;
    if (rawOffset + rawSize > view.length) throw bad("truncated");
    rawStart = Math.min(rawStart, rawOffset);
    rawEnd = Math.max(rawEnd, rawOffset + rawSize);
  }
  return {
    coff,
    optional,
    sectionCount,
    sectionTable,
    sectionAlignment,
    fileAlignment,
    sizeOfHeaders,
    rawStart,
    rawEnd,
    virtualEnd,
  };
}

/** Powers of two up to 64 KiB for files (the format's own limit), a little more for memory. */
function isAlignment(value: number): boolean {
  return value > 0 && value <= 2 ** 21 && (value & (value - 1)) === 0;
}

function align(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

import { KubedosError } from "../../shared/error.ts";

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

/** The stub with the sections appended in order. Unsigned; the same input gives the same bytes. */
export function buildUki(stub: Uint8Array, sections: readonly UkiSection[]): Buffer {
  const pe = readHeaders(stub);
  const headerEnd = pe.sectionTable + (pe.sectionCount + sections.length) * sectionHeaderBytes;
  if (headerEnd > pe.sizeOfHeaders) {
    throw new KubedosError("failed", `the EFI stub has no room for ${sections.length} more sections`);
  }
  const image = [Buffer.from(stub.subarray(0, pe.rawEnd))];
  let rawOffset = align(pe.rawEnd, pe.fileAlignment);
  image.push(Buffer.alloc(rawOffset - pe.rawEnd));
  let address = align(pe.virtualEnd, pe.sectionAlignment);
  const headers: Buffer[] = [];
  for (const { name, content } of sections) {
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
  }
  const result = Buffer.concat(image);
  Buffer.concat(headers).copy(result, pe.sectionTable + pe.sectionCount * sectionHeaderBytes);
  result.writeUInt16LE(pe.sectionCount + sections.length, pe.coff + 2);
  result.writeUInt32LE(address, pe.optional + 56); // SizeOfImage
  result.writeUInt32LE(0, pe.optional + 64); // CheckSum
  return result;
}

/** Sections of a UKI or any PE image by name: offset and size in the file, in bytes. */
export function readSections(image: Uint8Array): { name: string; offset: number; sizeBytes: number }[] {
  const pe = readHeaders(image);
  const view = Buffer.from(image.buffer, image.byteOffset, image.byteLength);
  return Array.from({ length: pe.sectionCount }, (_, index) => {
    const at = pe.sectionTable + index * sectionHeaderBytes;
    return {
      name: view.toString("latin1", at, at + 8).replace(/\0+$/, ""),
      offset: view.readUInt32LE(at + 20),
      sizeBytes: Math.min(view.readUInt32LE(at + 8), view.readUInt32LE(at + 16)),
    };
  });
}

function readHeaders(image: Uint8Array) {
  const view = Buffer.from(image.buffer, image.byteOffset, image.byteLength);
  const bad = (what: string) => new KubedosError("failed", `not a PE32+ image: ${what}`);
  if (view.length < 0x40 || view.toString("latin1", 0, 2) !== "MZ") throw bad("no MZ header");
  const coff = view.readUInt32LE(0x3c) + 4;
  if (coff + 20 > view.length || view.toString("latin1", coff - 4, coff) !== "PE\0\0") throw bad("no PE header");
  const sectionCount = view.readUInt16LE(coff + 2);
  const optional = coff + 20;
  const sectionTable = optional + view.readUInt16LE(coff + 16);
  if (sectionTable + sectionCount * sectionHeaderBytes > view.length) throw bad("truncated");
  if (view.readUInt16LE(optional) !== 0x20b) throw bad("not 64-bit");
  let rawEnd = 0;
  let virtualEnd = 0;
  for (let index = 0; index < sectionCount; index++) {
    const at = sectionTable + index * sectionHeaderBytes;
    virtualEnd = Math.max(virtualEnd, view.readUInt32LE(at + 12) + view.readUInt32LE(at + 8));
    rawEnd = Math.max(rawEnd, view.readUInt32LE(at + 20) + view.readUInt32LE(at + 16));
  }
  return {
    coff,
    optional,
    sectionCount,
    sectionTable,
    sectionAlignment: view.readUInt32LE(optional + 32),
    fileAlignment: view.readUInt32LE(optional + 36),
    sizeOfHeaders: view.readUInt32LE(optional + 60),
    rawEnd: Math.min(rawEnd, view.length),
    virtualEnd,
  };
}

function align(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

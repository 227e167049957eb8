/**
 * A small PE32+ image for tests, as the linker of an EFI stub lays it out: headers, one `.text`, room for `room` more
 * section headers. https://learn.microsoft.com/windows/win32/debug/pe-format
 */
export function fakeStub(room: number, text: Uint8Array = Buffer.from("code")): Buffer {
  const peAt = 0x80;
  const optional = peAt + 24;
  const optionalBytes = 240;
  const sectionTable = optional + optionalBytes;
  const fileAlignment = 512;
  const headersEnd = sectionTable + (1 + room) * 40;
  const textAt = Math.ceil(headersEnd / fileAlignment) * fileAlignment;
  const rawSize = Math.ceil(text.length / fileAlignment) * fileAlignment;
  const image = Buffer.alloc(textAt + rawSize);
  image.write("MZ", 0, "latin1");
  image.writeUInt32LE(peAt, 0x3c);
  image.write("PE\0\0", peAt, "latin1");
  image.writeUInt16LE(0x8664, peAt + 4);
  image.writeUInt16LE(1, peAt + 6);
  image.writeUInt16LE(optionalBytes, peAt + 20);
  image.writeUInt16LE(0x22e, peAt + 22);
  image.writeUInt16LE(0x20b, optional);
  image.writeUInt32LE(0x1000, optional + 16); // entry point
  image.writeUInt32LE(0x1000, optional + 32); // SectionAlignment
  image.writeUInt32LE(fileAlignment, optional + 36);
  image.writeUInt32LE(0x2000, optional + 56); // SizeOfImage
  image.writeUInt32LE(headersEnd, optional + 60);
  image.writeUInt16LE(10, optional + 68); // EFI application
  image.writeUInt32LE(16, optional + 108); // data directories
  image.write(".text", sectionTable, "latin1");
  image.writeUInt32LE(text.length, sectionTable + 8);
  image.writeUInt32LE(0x1000, sectionTable + 12);
  image.writeUInt32LE(rawSize, sectionTable + 16);
  image.writeUInt32LE(textAt, sectionTable + 20);
  image.writeUInt32LE(0x6000_0020, sectionTable + 36);
  image.set(text, textAt);
  return image;
}

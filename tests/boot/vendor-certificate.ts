/** The certificate (DER) that a build of shim trusts by itself: what its section .vendor_cert holds. */
export function vendorCertificate(image: Buffer): Buffer {
  const header = image.readUInt32LE(0x3c);
  const sections = header + 24 + image.readUInt16LE(header + 20);
  for (let index = 0; index < image.readUInt16LE(header + 6); index++) {
    const at = sections + 40 * index;
    const name = image.toString("latin1", at, at + 8).replace(/\0+$/, "");
    // Eight characters are all that a name may have; a longer one is elsewhere.
    const start = image.readUInt32LE(at + 20);
    if (name !== ".vendor_" && !name.startsWith("/")) continue;
    const size = image.readUInt32LE(start);
    const offset = image.readUInt32LE(start + 8);
    if (size > 500 && size < 5000 && offset < 64) return image.subarray(start + offset, start + offset + size);
  }
  throw new Error("shim holds no certificate");
}

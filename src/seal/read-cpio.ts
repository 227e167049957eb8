/** One name of a newc archive. */
export interface CpioEntry {
  path: string;
  /** Mode, owner, links and times as they are in the header, hexadecimal: for comparison. */
  header: string;
  content: Buffer;
}

const headerBytes = 110;

/**
 * Entries of an uncompressed newc archive up to its trailer. cpio(5)
 *
 * @throws Error when it is not one, or ends too early
 */
export function readCpio(archive: Buffer): CpioEntry[] {
  const entries: CpioEntry[] = [];
  const four = (value: number) => Math.ceil(value / 4) * 4;
  for (let at = 0; at + headerBytes <= archive.length;) {
    if (archive.toString("latin1", at, at + 6) !== "070701") throw new Error(`no cpio header at byte ${at}`);
    const field = (index: number) => {
      const digits = archive.toString("latin1", at + 6 + index * 8, at + 14 + index * 8);
      if (!/^[0-9a-f]{8}$/i.test(digits)) throw new Error(`no number in the cpio header at byte ${at}`);
      return Number.parseInt(digits, 16);
    };
    const [sizeBytes, nameBytes] = [field(6), field(11)];
    const path = archive.toString("utf8", at + headerBytes, at + headerBytes + nameBytes - 1);
    if (path === "TRAILER!!!") return entries;
    const contentAt = four(at + headerBytes + nameBytes);
    if (contentAt + sizeBytes > archive.length) throw new Error(`${path} is cut off`);
    // From mode to the modification time: inode numbers follow from the order alone.
    const header = archive.toString("latin1", at + 14, at + 54);
    entries.push({ path, header, content: archive.subarray(contentAt, contentAt + sizeBytes) });
    at = four(contentAt + sizeBytes);
  }
  throw new Error("the cpio archive has no end");
}

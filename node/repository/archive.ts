import { open, type FileHandle } from "node:fs/promises";

/** A file of the archive: where its bytes are. */
export interface Member {
  offsetBytes: number;
  sizeBytes: number;
  /** Seconds since 1970. */
  modifiedAt: number;
}

const block = 512;

/** A tar that is read in place. */
export interface Archive {
  handle: FileHandle;
  members: ReadonlyMap<string, Member>;
}

/**
 * Opens a ustar archive, a file or a whole disk, and finds its regular files (POSIX.1-2017, pax, "ustar Interchange
 * Format"). The contents are vouched for by their signatures, not here.
 *
 * @throws when it is not such an archive, or ends before its end mark
 */
export async function openArchive(file: string): Promise<Archive> {
  const handle = await open(file, "r");
  try {
    return { handle, members: await readMembers(handle, file) };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function readMembers(handle: FileHandle, file: string): Promise<Map<string, Member>> {
  const members = new Map<string, Member>();
  const head = Buffer.alloc(block);
  for (let at = 0; ;) {
    const { bytesRead } = await handle.read(head, 0, block, at);
    if (bytesRead < block) throw new Error(`${file} ends at byte ${at + bytesRead}, in the middle of the archive`);
    if (head[0] === 0) return members;
    const sum = head.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 32 : byte), 0);
    if (text(head, 257, 5) !== "ustar" || sum !== octal(head, 148, 8))
      throw new Error(`${file}: no header at byte ${at}`);
    const sizeBytes = octal(head, 124, 12);
    const prefix = text(head, 345, 155);
    const name = `${prefix === "" ? "" : `${prefix}/`}${text(head, 0, 100)}`;
    if (head[156] === 0x30) members.set(name, { offsetBytes: at + block, sizeBytes, modifiedAt: octal(head, 136, 12) });
    at += block + Math.ceil(sizeBytes / block) * block;
  }
}

function text(head: Buffer, at: number, length: number): string {
  return head.toString("utf8", at, at + length).replace(/\0.*$/s, "");
}

function octal(head: Buffer, at: number, length: number): number {
  const digits = text(head, at, length).trim();
  const value = /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw new Error("damaged header");
  return value;
}

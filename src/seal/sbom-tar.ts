import { open } from "node:fs/promises";

const blockBytes = 512;
const windowBytes = 256 * 1024;

/** A member of a tar archive that was asked for. */
export interface TarMember {
  /** Without the leading `./`. */
  path: string;
  /** Target of a symbolic or hard link; then there is no content. */
  link?: string;
  content: Buffer;
}

/**
 * Members of a GNU or ustar archive whose path the filter takes, in their order; contents of others are skipped.
 * https://www.gnu.org/software/tar/manual/html_node/Standard.html
 *
 * @throws Error when the archive is cut
 */
export async function readTarMembers(file: string, wanted: (path: string) => boolean): Promise<TarMember[]> {
  const handle = await open(file);
  try {
    const { size } = await handle.stat();
    const window = Buffer.alloc(windowBytes);
    let windowAt = 0;
    let windowEnd = 0;
    const read = async (at: number, length: number): Promise<Buffer> => {
      if (at + length > size) throw new Error(`${file} ends within a member`);
      if (length > windowBytes) {
        const bytes = Buffer.alloc(length);
        await handle.read(bytes, 0, length, at);
        return bytes;
      }
      if (at < windowAt || at + length > windowEnd) {
        const { bytesRead } = await handle.read(window, 0, windowBytes, at);
        [windowAt, windowEnd] = [at, at + bytesRead];
      }
      return Buffer.from(window.subarray(at - windowAt, at - windowAt + length));
    };
    const members: TarMember[] = [];
    let longName: string | undefined;
    let longLink: string | undefined;
    for (let at = 0; at + blockBytes <= size;) {
      const header = await read(at, blockBytes);
      const text = (from: number, length: number) => header.toString("utf8", from, from + length).replace(/\0.*$/s, "");
      if (text(0, 100) === "") break;
      const sizeBytes = Number.parseInt(text(124, 12), 8) || 0;
      const contentAt = at + blockBytes;
      at = contentAt + Math.ceil(sizeBytes / blockBytes) * blockBytes;
      const type = text(156, 1);
      if (type === "L" || type === "K") {
        const long = (await read(contentAt, sizeBytes)).toString().replace(/\0+$/, "");
        if (type === "L") longName = long;
        else longLink = long;
        continue;
      }
      const path = (longName ?? text(0, 100)).replace(/^\.\//, "");
      const link = type === "1" || type === "2" ? (longLink ?? text(157, 100)) : undefined;
      longName = longLink = undefined;
      if (!wanted(path)) continue;
      members.push({ path, link, content: link === undefined ? await read(contentAt, sizeBytes) : Buffer.alloc(0) });
    }
    return members;
  } finally {
    await handle.close();
  }
}

import { open } from "node:fs/promises";
import { writeWhole } from "./chunks.ts";
import { tarEnd, tarPadding, ustarHeader } from "./tar.ts";

/** A file in an archive: root:root, 0644 or, where it is a program, 0755. */
export interface ArchiveFile {
  name: string;
  content: Uint8Array | string;
  program?: boolean;
}

/** Writes files into a tar archive, in the order given and all of one date. @throws KubedosError for a name that is too long */
export async function writeArchive(files: readonly ArchiveFile[], output: string, epoch: number): Promise<void> {
  const target = await open(output, "wx");
  let position = 0;
  const append = async (bytes: Uint8Array) => {
    await writeWhole(target, bytes, position);
    position += bytes.length;
  };
  try {
    for (const { name, content, program } of files) {
      const bytes = typeof content === "string" ? Buffer.from(content) : content;
      await append(ustarHeader(name, bytes.length, epoch, program === true ? 0o755 : 0o644));
      await append(bytes);
      await append(Buffer.alloc(tarPadding(bytes.length)));
    }
    await append(tarEnd);
  } finally {
    await target.close();
  }
}

import { open } from "node:fs/promises";

const sectorBytes = 2048;
const volumeDescriptor = 16 * sectorBytes;

/**
 * Where a file of a CD image is, by its name of the plain (not extended) directory records, e.g. `KUBEDOS/SEEDS`.
 * Undefined where there is none, or the image is no CD image.
 * ECMA-119, sections 8.4 and 9.1: https://ecma-international.org/publications-and-standards/standards/ecma-119/
 */
export async function findInIso(
  image: string,
  path: string,
): Promise<{ offsetBytes: number; sizeBytes: number } | undefined> {
  const file = await open(image);
  try {
    const read = async (at: number, length: number) => {
      const bytes = Buffer.alloc(length);
      const { bytesRead } = await file.read(bytes, 0, length, at);
      return bytes.subarray(0, bytesRead);
    };
    const descriptor = await read(volumeDescriptor, sectorBytes);
    if (descriptor.toString("latin1", 0, 6) !== "\u0001CD001") return undefined;
    let found = extent(descriptor, 156);
    for (const name of path.split("/")) {
      const next = records(await read(found.offsetBytes, Math.min(found.sizeBytes, 2 ** 20))).get(name);
      if (next === undefined) return undefined;
      found = next;
    }
    return found;
  } finally {
    await file.close();
  }
}

function extent(bytes: Buffer, at: number): { offsetBytes: number; sizeBytes: number } {
  return { offsetBytes: bytes.readUInt32LE(at + 2) * sectorBytes, sizeBytes: bytes.readUInt32LE(at + 10) };
}

/** Directory records by name, without the version number. A record never crosses the end of a sector. */
function records(directory: Buffer): Map<string, { offsetBytes: number; sizeBytes: number }> {
  const found = new Map<string, { offsetBytes: number; sizeBytes: number }>();
  for (let at = 0; at + 33 < directory.length;) {
    const length = directory[at]!;
    if (length === 0) {
      at = (Math.floor(at / sectorBytes) + 1) * sectorBytes;
      continue;
    }
    const name = directory.toString("latin1", at + 33, at + 33 + directory[at + 32]!);
    found.set(name.replace(/\.?(;\d+)?$/, ""), extent(directory, at));
    at += length;
  }
  return found;
}

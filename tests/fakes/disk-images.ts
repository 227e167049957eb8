import { open, readFile, writeFile } from "node:fs/promises";
import { deflateSync } from "node:zlib";

/** A run of bytes in a made-up disk image: what is between runs is a hole. */
export interface Run {
  /** In sectors of 512 bytes. */
  first: number;
  sectors: number;
  /** Bytes are derived from it; 0 makes zeros that are stored all the same. */
  seed: number;
}

/** Writes a sparse disk image of whole sectors. */
export async function writeImage(file: string, sectors: number, runs: readonly Run[]): Promise<void> {
  const handle = await open(file, "w");
  try {
    await handle.truncate(sectors * 512);
    for (const run of runs) {
      const count = Math.min(run.sectors, sectors - run.first);
      if (count <= 0) continue;
      await handle.write(noise(count * 512, run.seed), 0, count * 512, run.first * 512);
    }
  } finally {
    await handle.close();
  }
}

/** Bytes that compress to about half: a linear congruential generator, every other byte zero. */
function noise(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  if (seed === 0) return bytes;
  let state = seed;
  for (let at = 0; at < length; at += 2) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

/** Stands in for the foundry's `deflate.py grains`: this process's zlib instead of the locked one. */
export async function fakeGrains(raw: string, grains: string, grainBytes: number): Promise<Buffer> {
  const image = await readFile(raw);
  const count = Math.ceil(image.length / grainBytes);
  const lengths = Buffer.alloc(count * 4);
  const packed: Buffer[] = [];
  const zeros = Buffer.alloc(grainBytes);
  for (let index = 0; index < count; index++) {
    const grain = Buffer.alloc(grainBytes);
    image.copy(grain, 0, index * grainBytes);
    if (grain.equals(zeros)) continue;
    const data = deflateSync(grain);
    lengths.writeUInt32LE(data.length, index * 4);
    packed.push(data);
  }
  await writeFile(grains, Buffer.concat(packed));
  return lengths;
}

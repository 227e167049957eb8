import { closeSync, openSync, readSync } from "node:fs";

const chunkBytes = 64 * 1024;

/** Reads the lines that are appended to a file, as they come. The file may not be there yet. */
export interface Follower {
  /** Hands over all whole lines that are new. */
  poll(): void;
}

/** @param from first byte to read */
export function followLines(file: string, onLine: (line: string) => void, from = 0): Follower {
  const buffer = Buffer.alloc(chunkBytes);
  let offset = from;
  let rest = "";

  function poll(): void {
    let handle: number;
    try {
      handle = openSync(file, "r");
    } catch {
      return;
    }
    try {
      for (;;) {
        const count = readSync(handle, buffer, 0, chunkBytes, offset);
        if (count === 0) return;
        offset += count;
        const lines = (rest + buffer.toString("latin1", 0, count)).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) onLine(Buffer.from(line, "latin1").toString("utf8"));
      }
    } finally {
      closeSync(handle);
    }
  }
  return { poll };
}

/** Longest line of the control protocol, bytes. A scan of 10,000 targets fits. */
export const maxLineBytes = 1024 * 1024;

/**
 * Cuts a byte stream into lines. A line that is too long is left out as a whole and reported once; bytes that are
 * not UTF-8 come out as U+FFFD. Never throws.
 */
export function lineSplitter(onLine: (line: string) => void, onTooLong: () => void): (chunk: Uint8Array) => void {
  let pieces: Uint8Array[] = [];
  let size = 0;
  let skipping = false;

  function add(piece: Uint8Array): void {
    if (skipping) return;
    size += piece.length;
    if (size <= maxLineBytes) {
      pieces.push(Uint8Array.from(piece)); // the reader uses its buffer again
      return;
    }
    skipping = true;
    pieces = [];
    onTooLong();
  }

  function end(): void {
    const line = Buffer.concat(pieces).toString("utf8").trim();
    const use = !skipping && line !== "";
    pieces = [];
    size = 0;
    skipping = false;
    if (use) onLine(line);
  }

  return (chunk) => {
    let start = 0;
    for (;;) {
      const newline = chunk.indexOf(0x0a, start);
      if (newline < 0) break;
      add(chunk.subarray(start, newline));
      end();
      start = newline + 1;
    }
    if (start < chunk.length) add(chunk.subarray(start));
  };
}

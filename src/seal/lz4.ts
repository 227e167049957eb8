/**
 * Decodes one LZ4 block into a buffer, up to that buffer's size: what follows in the block is left alone.
 * https://github.com/lz4/lz4/blob/v1.10.0/doc/lz4_Block_format.md
 *
 * @throws Error when the block is damaged or gives less
 */
export function decodeLz4Block(block: Buffer, out: Buffer): void {
  let from = 0;
  let to = 0;
  const damaged = () => new Error("an LZ4 block is damaged");
  const readLength = (nibble: number): number => {
    let length = nibble;
    if (nibble !== 15) return length;
    for (let byte = 255; byte === 255;) {
      if (from >= block.length) throw damaged();
      byte = block[from++]!;
      length += byte;
    }
    return length;
  };
  while (to < out.length) {
    if (from >= block.length) throw damaged();
    const token = block[from++]!;
    // 1. Literals.
    const literals = Math.min(readLength(token >> 4), out.length - to);
    if (from + literals > block.length) throw damaged();
    if (literals < 24) {
      for (let left = literals; left > 0; left--) out[to++] = block[from++]!;
    } else {
      block.copy(out, to, from, from + literals);
      from += literals;
      to += literals;
    }
    if (to === out.length) return;
    // 2. A match in what was decoded before; it may overlap itself.
    if (from + 2 > block.length) throw damaged();
    const distance = block[from]! | (block[from + 1]! << 8);
    from += 2;
    if (distance === 0 || distance > to) throw damaged();
    const end = Math.min(to + readLength(token & 15) + 4, out.length);
    if (distance >= end - to && end - to >= 24) {
      out.copyWithin(to, to - distance, end - distance);
      to = end;
    } else for (let source = to - distance; to < end;) out[to++] = out[source++]!;
  }
}

import type { Terminal } from "../../host/terminal.ts";

/** A fake terminal that keeps what is written. */
export function fakeTerminal(columns = 80, tty = true): Terminal & { text(): string; screen(): string[] } {
  let written = "";
  return {
    write: (text) => void (written += text),
    traits: () => ({ tty, color: false, columns }),
    text: () => written,
    screen: () => screenOf(written),
  };
}

/** What a person sees at the end: applies "cursor up" and "erase below" (ECMA-48 CUU, ED), the only codes in use. */
function screenOf(written: string): string[] {
  const lines: string[] = [""];
  let row = 0;
  // oxlint-disable-next-line no-control-regex
  for (const part of written.split(/(\u001b\[\d*[AJ]|\r|\n)/)) {
    // oxlint-disable-next-line no-control-regex
    const up = /^\u001b\[(\d+)A$/.exec(part);
    if (up !== null) row -= Number(up[1]);
    else if (part === "\u001b[J") lines.splice(row, Number.POSITIVE_INFINITY, "");
    else if (part === "\n") lines[(row += 1)] ??= "";
    else if (part !== "\r") lines[row] += part;
  }
  return lines;
}

/** What a stream of the process can show. */
export interface TerminalTraits {
  tty: boolean;
  color: boolean;
  /** Width in characters; 80 where the stream has none. */
  columns: number;
}

/** One output stream of the process. */
export interface Terminal {
  write(text: string): void;
  /** Read anew at each call: a window can change its size. */
  traits(): TerminalTraits;
}

/** Standard output: results, and everything under `--json`. */
export const standardOutput: Terminal = terminalOf(() => process.stdout);

/** Standard error: progress, log and errors for people. */
export const standardError: Terminal = terminalOf(() => process.stderr);

/** Standard input is a terminal, so a question can be answered. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** All of standard input. */
export async function readStandardInput(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk as Uint8Array));
  return Buffer.concat(chunks);
}

/** Bytes that are no text, for another program. */
export function writeStandardOutput(bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(bytes, (error) => (error instanceof Error ? reject(error) : resolve()));
  });
}

/**
 * Ends the process quietly with status 0 when the reader of a pipe goes away (`kubedos schema | head`), as other
 * filters do.
 */
export function endOnClosedPipe(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (cause: NodeJS.ErrnoException) => {
      if (cause.code === "EPIPE") process.exit(0);
      throw cause;
    });
  }
}

function terminalOf(stream: () => NodeJS.WriteStream): Terminal {
  return {
    write: (text) => void stream().write(text),
    traits: () => ({
      tty: stream().isTTY === true,
      color: wantsColor(stream().isTTY === true, process.env),
      columns: stream().columns ?? 80,
    }),
  };
}

/** Colour follows https://no-color.org and https://force-color.org; a dumb terminal gets none. */
export function wantsColor(tty: boolean, environment: Readonly<Record<string, string | undefined>>): boolean {
  if ((environment["NO_COLOR"] ?? "") !== "") return false;
  if ((environment["FORCE_COLOR"] ?? "0") !== "0") return true;
  return tty && environment["TERM"] !== "dumb";
}

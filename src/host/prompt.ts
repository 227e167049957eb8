import { KubedosError } from "../../shared/error.ts";

/** The part of a terminal that `askSecret` uses. */
export interface SecretTerminal {
  input: Pick<NodeJS.ReadStream, "on" | "off" | "resume" | "pause" | "setRawMode">;
  output: Pick<NodeJS.WriteStream, "write">;
}

/**
 * Asks for a line on the terminal without showing it. Backspace and Ctrl-U edit; Ctrl-C, Ctrl-D and an abort end it.
 *
 * @throws KubedosError (code `interrupted`)
 */
export function askSecret(
  question: string,
  signal?: AbortSignal,
  terminal: SecretTerminal = { input: process.stdin, output: process.stderr },
): Promise<string> {
  const { input, output } = terminal;
  return new Promise((resolve, reject) => {
    const typed: string[] = [];
    const close = () => {
      input.off("data", onData);
      signal?.removeEventListener("abort", onAbort);
      input.setRawMode(false);
      input.pause();
      output.write("\n");
    };
    const fail = () => {
      close();
      reject(new KubedosError("interrupted", `interrupted: ${question}`));
    };
    const onAbort = () => fail();
    const onData = (chunk: Buffer | string) => {
      for (const character of chunk.toString()) {
        if (character === "\r" || character === "\n") {
          close();
          return resolve(typed.join(""));
        }
        if (character === "\u0003" || character === "\u0004") return fail();
        if (character === "\u007f" || character === "\b") typed.pop();
        else if (character === "\u0015") typed.length = 0;
        else typed.push(character);
      }
    };
    if (signal?.aborted) return reject(new KubedosError("interrupted", `interrupted: ${question}`));
    signal?.addEventListener("abort", onAbort, { once: true });
    output.write(`${question}: `);
    input.setRawMode(true);
    input.on("data", onData);
    input.resume();
  });
}

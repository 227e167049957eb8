import { connect } from "node:net";
import { createInterface } from "node:readline";
import { KubedosError } from "../../shared/error.ts";

const defaultTimeoutMs = 5_000;

/**
 * Runs one command of the QEMU Machine Protocol (https://www.qemu.org/docs/master/interop/qmp-spec.html) and returns
 * its answer. QEMU talks to one client at a time; a second one waits.
 *
 * @throws KubedosError when QEMU does not answer or refuses
 */
export async function qmp(
  socketPath: string,
  execute: string,
  args: Record<string, unknown> = {},
  timeoutMs = defaultTimeoutMs,
): Promise<unknown> {
  const socket = connect(socketPath);
  const failed = (why: string, cause?: unknown) =>
    new KubedosError("failed", `QEMU (${socketPath}): ${execute}: ${why}`, { cause, hint: "is the machine running?" });
  try {
    return await new Promise((resolve, reject) => {
      socket.setTimeout(timeoutMs, () => reject(failed(`no answer within ${timeoutMs / 1000} s`)));
      socket.once("error", (cause) => reject(failed(cause.message, cause)));
      socket.once("close", () => reject(failed("the connection ended")));
      const send = (command: string, parameters: Record<string, unknown>, id: string) =>
        socket.write(`${JSON.stringify({ execute: command, arguments: parameters, id })}\n`);
      const lines = createInterface({ input: socket });
      lines.on("error", () => undefined); // readline says its input's errors again
      lines.on("line", (line) => {
        const message = parseMessage(line);
        if (message === undefined) reject(failed(`not an answer: ${line.slice(0, 80)}`));
        else if (message.QMP !== undefined) send("qmp_capabilities", {}, "hello");
        else if (message.error !== undefined) reject(failed(message.error.desc));
        else if (message.id === "hello") send(execute, args, "command");
        else if (message.id === "command") resolve(message.return);
      });
    });
  } finally {
    socket.destroy();
  }
}

interface Message {
  QMP?: unknown;
  id?: string;
  return?: unknown;
  error?: { desc: string };
}

function parseMessage(line: string): Message | undefined {
  try {
    const message: unknown = JSON.parse(line);
    return typeof message === "object" && message !== null ? message : undefined;
  } catch {
    return undefined;
  }
}

import { spawn } from "node:child_process";
import { connect } from "node:net";
import { KubedosError } from "../../shared/error.ts";
import { cleanEnvironment } from "./run.ts";

const leaveKey = 0x1d; // Ctrl-]

/** Gives the terminal to a command; returns its exit status. */
export function runAttached(command: string, args: readonly string[], signal: AbortSignal): Promise<number> {
  const env = cleanEnvironment({ TERM: process.env["TERM"] ?? "dumb" });
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env, stdio: "inherit" });
    const onAbort = () => child.kill("SIGTERM");
    signal.addEventListener("abort", onAbort, { once: true });
    child.once("error", (cause) => reject(new KubedosError("failed", `cannot start ${command}`, { cause })));
    child.once("close", (status) => {
      signal.removeEventListener("abort", onAbort);
      resolve(status ?? 1);
    });
  });
}

/** Connects the terminal with a unix socket until Ctrl-] or the other side ends. */
export async function attachSocket(path: string, signal: AbortSignal): Promise<void> {
  const socket = connect(path);
  const { stdin, stdout } = process;
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", (cause) =>
      reject(new KubedosError("failed", `nobody listens on ${path}`, { cause, hint: "is the machine running?" })),
    );
  });
  stdin.setRawMode?.(true);
  process.stderr.write("attached; Ctrl-] leaves\r\n");
  try {
    await new Promise<void>((resolve) => {
      socket.on("data", (bytes: Buffer) => stdout.write(bytes));
      socket.once("close", () => resolve());
      signal.addEventListener("abort", () => resolve(), { once: true });
      stdin.on("data", (bytes: Buffer) => {
        const at = bytes.indexOf(leaveKey);
        socket.write(at < 0 ? bytes : bytes.subarray(0, at));
        if (at >= 0) resolve();
      });
      stdin.once("end", () => resolve());
    });
  } finally {
    stdin.setRawMode?.(false);
    stdin.pause();
    socket.destroy();
  }
}

import { KubedosError } from "../../shared/error.ts";

export interface ExecResult {
  status: number;
  stdout: string;
  stderr: string;
}

const maxOutputBytes = 8 * 1024 * 1024;

/**
 * Runs one command of the node without a shell and hands back its output, whatever its exit status.
 *
 * @throws KubedosError when it cannot be started, is ended by a signal, or takes longer than `timeoutMs`
 */
export async function exec(
  command: string,
  args: readonly string[],
  options: { input?: string; timeoutMs?: number } = {},
): Promise<ExecResult> {
  // Loaded here: what a node does before its first command should not wait for it.
  const { spawn } = await import("node:child_process");
  const { timeoutMs = 30_000 } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: "pipe", timeout: timeoutMs, killSignal: "SIGKILL" });
    const output = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8");
      child[name].on("data", (text: string) => {
        if (output[name].length < maxOutputBytes) output[name] += text;
      });
    }
    child.stdin.on("error", () => undefined); // the command may close its input early
    child.stdin.end(options.input ?? "");
    child.on("error", (cause) => reject(new KubedosError("failed", `${command}: ${cause.message}`, { cause })));
    child.on("close", (status, signal) => {
      if (status !== null) return resolve({ status, ...output });
      reject(new KubedosError("failed", `${command} was ended by ${signal} (time limit ${timeoutMs / 1000} s)`));
    });
  });
}

import { spawn } from "node:child_process";
import { join } from "node:path";

export const projectRoot = join(import.meta.dirname, "../..");

export interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the real launcher, as a user does, and waits for it. */
export function kubedos(
  args: readonly string[],
  options: { env?: Record<string, string>; cwd?: string } = {},
): Promise<Outcome> {
  return start(join(projectRoot, "kubedos"), args, options).ended;
}

/** Starts any command and hands out its output when it ends. */
export function start(
  command: string,
  args: readonly string[],
  options: { env?: Record<string, string>; cwd?: string } = {},
): { pid: number; kill(signal: NodeJS.Signals): void; stderr(): string; ended: Promise<Outcome> } {
  const env = { ...process.env, ...options.env };
  // What a developer's shell or vitest sets must not change what is tested.
  for (const name of ["NO_COLOR", "FORCE_COLOR", "TARGET", "REPO_MODE", "REPO_PROFILE", "DARKSITE_SRC"]) {
    if (options.env?.[name] === undefined) delete env[name];
  }
  const child = spawn(command, args, { cwd: options.cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => (stdout += String(chunk)));
  child.stderr.on("data", (chunk) => (stderr += String(chunk)));
  const ended = new Promise<Outcome>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status) => resolve({ status, stdout, stderr }));
  });
  return { pid: child.pid!, kill: (signal) => void child.kill(signal), stderr: () => stderr, ended };
}

/** The objects of a `--json` run. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

import { existsSync } from "node:fs";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheDirectory } from "../host/paths.ts";
import { run } from "../host/run.ts";
import { runInSandbox } from "../host/sandbox.ts";
import { findTool } from "../host/tools.ts";
import type { Manifest } from "./manifest.ts";

/** How a tool is called: its arguments name the files that it reads, and files of the directory that it writes to. */
export interface ToolCall {
  args: (input: (name: string) => string, output: (name: string) => string) => string[];
  inputs: Record<string, string>;
  out: string;
}

/** Runs a tool and hands out its status, whatever it is, and all that it printed. */
export type VerifyTool = (call: ToolCall) => Promise<{ status: number; text: string }>;

/**
 * A tool to check with: from the build's own foundry root where this machine's cache has it, else the host's.
 * Undefined where there is neither.
 */
export async function verifyTool(
  name: "sbverify" | "qemu-img",
  manifest: Manifest,
  signal: AbortSignal,
): Promise<VerifyTool | undefined> {
  const root = join(cacheDirectory(), "foundry", manifest.inputs.foundry.slice(0, 32));
  if (existsSync(join(root, "usr/bin", name))) {
    return async ({ args, inputs, out }) => {
      const words = args(
        (file) => `/in/${file}`,
        (file) => `/out/${file}`,
      );
      // The tool's status is printed: a sandbox that cannot be made must not look like a bad signature.
      const script = '"$@" > /work/log 2>&1 && status=0 || status=$?; echo $status; cat /work/log';
      const command = ["sh", "-c", script, "sh", name, ...words] as const;
      const { stdout } = await runInSandbox({ root, command, inputs, out, epoch: manifest.epoch, signal });
      const end = stdout.indexOf("\n");
      return { status: Number(stdout.slice(0, end)), text: stdout.slice(end + 1) };
    };
  }
  const host = await findTool(name);
  if (host === undefined) return undefined;
  const anyStatus = Array.from({ length: 256 }, (_, status) => status);
  return async ({ args, inputs, out }) => {
    const words = args(
      (file) => inputs[file]!,
      (file) => join(out, file),
    );
    const result = await run(host, words, { signal, timeoutMs: 600_000, okStatuses: anyStatus });
    return { status: result.status, text: result.stdout + result.stderr };
  };
}

/** Decompresses the zstd archive of an initrd in a foundry root; undefined for what is not zstd. */
export function initrdUnpacker(
  root: string,
  scratch: string,
  epoch: number,
  signal: AbortSignal,
): (archive: Buffer) => Promise<Buffer | undefined> {
  return async (archive) => {
    const own = await mkdtemp(join(scratch, "initrd-"));
    const packed = join(own, "packed");
    await writeFile(packed, archive);
    // Zeros may pad the archive to the next one: then zstd complains after it has written everything.
    const script = "zstd -q -d -c < /in/packed > /out/archive || true";
    const command = ["sh", "-c", script] as const;
    await runInSandbox({ root, command, inputs: { packed }, out: own, epoch, signal });
    const content = await readFile(join(own, "archive"));
    return content.length === 0 ? undefined : content;
  };
}

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, mkdir, open, readdir, rename, rm, rmdir, stat, statfs, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import type { RunContext } from "../host/context.ts";
import { run } from "../host/run.ts";
import { runInSandbox } from "../host/sandbox.ts";
import { hashFile } from "../store/store.ts";
import type { PlannedFile } from "./layout.ts";

/** A capsule that was written. */
export interface CreatedCapsule {
  path: string;
  files: number;
  sizeBytes: number;
  /** Files that an interrupted creation had written already. */
  resumed: number;
}

const stage = "capsule";

/**
 * Writes a capsule as a directory. It grows under the name `<output>.partial` and gets its own when it is whole; what
 * an interrupted creation left there is checked and used. All times are the lock's, so copies of it are the same.
 *
 * @throws KubedosError when the output exists, the medium has too little room or becomes full
 */
export async function createDirectory(
  files: readonly PlannedFile[],
  output: string,
  epoch: number,
  context: RunContext,
): Promise<CreatedCapsule> {
  await refuseExisting(output);
  const partial = `${output}.partial`;
  await mkdir(partial, { recursive: true });
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  try {
    await removeStrays(partial, new Set(files.map(({ path }) => path)));
    const there = await wholeFiles(partial, files);
    await needRoom(
      partial,
      files.filter(({ path }) => !there.has(path)).reduce((sum, file) => sum + file.sizeBytes, 0),
    );
    let done = 0;
    for (const file of files) {
      context.signal.throwIfAborted();
      const path = join(partial, file.path);
      if (!there.has(file.path)) await writePlanned(path, file, context.signal);
      await chmod(path, file.mode);
      await utimes(path, epoch, epoch);
      done += file.sizeBytes;
      context.emit({ type: "stage.progress", stage, done, total: sizeBytes, unit: "bytes" });
    }
    await settleDirectories(partial, epoch);
    await run("sync", ["--file-system", partial], { signal: context.signal, timeoutMs: 10 * 60_000 });
    await rename(partial, output);
    return { path: output, files: files.length, sizeBytes, resumed: there.size };
  } catch (error) {
    throw await explain(error, output, context.signal);
  }
}

/** Writes a capsule as one ISO 9660 image, from a directory of it, with xorriso of a foundry root. */
export async function createIso(
  directory: string,
  output: string,
  tools: { root: string; epoch: number; label: string },
  context: RunContext,
): Promise<number> {
  await refuseExisting(output);
  const own = `${output}.partial-iso`;
  await mkdir(own, { recursive: true });
  try {
    const volume = tools.label
      .toUpperCase()
      .replaceAll(/[^A-Z0-9_]/g, "_")
      .slice(0, 24);
    const command = [
      "-as",
      "mkisofs",
      "-quiet",
      "-iso-level",
      "3",
      "-R",
      "-V",
      `KUBEDOS_${volume}`,
      "-o",
      "/out/image",
    ];
    await runInSandbox({
      root: tools.root,
      command: ["xorriso", ...command, "/in/capsule"],
      inputs: { capsule: directory },
      out: own,
      epoch: tools.epoch,
      signal: context.signal,
    });
    await chmod(join(own, "image"), 0o644);
    await rename(join(own, "image"), output);
    return (await stat(output)).size;
  } catch (error) {
    throw await explain(error, output, context.signal);
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}

/** Makes a directory that is not there yet. @throws KubedosError when it exists */
export async function createUnder(output: string): Promise<void> {
  await mkdir(output, { recursive: true });
  if ((await readdir(output)).length === 0) return;
  throw new KubedosError("failed", `${output} exists already, and is not empty`, {
    hint: "choose another one: --out DIR",
  });
}

async function refuseExisting(output: string): Promise<void> {
  if ((await stat(output).catch(() => undefined)) === undefined) return;
  throw new KubedosError("failed", `${output} exists already`, {
    hint: "a capsule is never overwritten: choose another name, or move it away",
  });
}

/** Files of an interrupted creation that are what they must be. */
async function wholeFiles(directory: string, files: readonly PlannedFile[]): Promise<Set<string>> {
  const whole = new Set<string>();
  for (const { path, sizeBytes, sha256 } of files) {
    const info = await stat(join(directory, path)).catch(() => undefined);
    if (info?.size === sizeBytes && (await hashFile(join(directory, path))) === sha256) whole.add(path);
  }
  return whole;
}

/** What an interrupted creation of something else left in the directory. */
async function removeStrays(directory: string, known: ReadonlySet<string>, below = ""): Promise<void> {
  for (const entry of await readdir(join(directory, below), { withFileTypes: true })) {
    const path = `${below}${entry.name}`;
    if (entry.isDirectory()) {
      await removeStrays(directory, known, `${path}/`);
      await rmdir(join(directory, path)).catch(() => undefined); // not empty: it stays
    } else if (!known.has(path)) await rm(join(directory, path));
  }
}

/** Copies and checks at once: what was damaged on its way is never under a file's name. */
async function writePlanned(path: string, file: PlannedFile, signal: AbortSignal): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.new`;
  const hash = createHash("sha256");
  const handle = await open(temporary, "w", 0o600);
  try {
    for await (const chunk of contentOf(file, signal)) {
      hash.update(chunk);
      for (let at = 0; at < chunk.length;) at += (await handle.write(chunk, at)).bytesWritten;
    }
  } finally {
    await handle.close();
  }
  if (hash.digest("hex") !== file.sha256) {
    await rm(temporary);
    throw new KubedosError("failed", `${file.path}: its source changed while it was copied`, {
      hint: "run again; if it stays, `kubedos store verify` checks the store",
    });
  }
  await rename(temporary, path);
}

function contentOf(file: PlannedFile, signal: AbortSignal): AsyncIterable<Uint8Array> | Iterable<Uint8Array> {
  if (typeof file.from !== "string") return [file.from];
  if (file.sizeBytes === 0) return [];
  const start = file.offsetBytes ?? 0;
  return createReadStream(file.from, { start, end: start + file.sizeBytes - 1, highWaterMark: 1 << 20, signal });
}

async function settleDirectories(directory: string, epoch: number): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) await settleDirectories(join(directory, entry.name), epoch);
  }
  await chmod(directory, 0o755);
  await utimes(directory, epoch, epoch);
}

async function needRoom(directory: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  const free = bavail * bsize;
  if (free >= bytes) return;
  throw new KubedosError("failed", `${directory}: ${megabytes(bytes)} to write, ${megabytes(free)} free`, {
    hint: "use a larger medium, or --split SIZE for several",
  });
}

async function explain(error: unknown, output: string, signal: AbortSignal): Promise<unknown> {
  if (signal.aborted) {
    return new KubedosError("interrupted", "interrupted while writing the capsule", {
      hint: `run again to go on; ${output}.partial holds what is written`,
      cause: error,
    });
  }
  const text = error instanceof Error ? `${(error as NodeJS.ErrnoException).code} ${error.message}` : "";
  if (!/ENOSPC|EDQUOT|No space left on device|Disk quota exceeded/.test(text)) return error;
  return new KubedosError("failed", `the medium is full: ${dirname(output)}`, {
    hint: `make room and run again: it goes on with ${output}.partial; or use --split SIZE`,
    cause: error,
  });
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6)} MB`;
}

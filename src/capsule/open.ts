import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { cacheDirectory } from "../host/paths.ts";
import { run } from "../host/run.ts";
import { runInSandbox } from "../host/sandbox.ts";
import { findTool } from "../host/tools.ts";

/** A capsule that can be read as a directory. */
export interface OpenCapsule {
  directory: string;
  close(): Promise<void>;
}

/**
 * Opens a capsule: a directory as it is, an ISO by unpacking it into `parent` for the time.
 *
 * @throws KubedosError when there is no such path, or no tool to read an ISO with
 */
export async function openCapsule(path: string, parent: string, signal: AbortSignal): Promise<OpenCapsule> {
  const whole = resolve(path);
  const info = await stat(whole).catch(() => undefined);
  if (info === undefined)
    throw new KubedosError("usage", `there is no ${path}`, { hint: "name a capsule: directory or ISO" });
  if (info.isDirectory()) return { directory: whole, close: () => Promise.resolve() };
  const directory = await mkdtemp(join(parent, "kubedos-capsule-"));
  const close = () => rm(directory, { recursive: true, force: true });
  try {
    await unpackIso(whole, directory, signal);
    return { directory: join(directory, "capsule"), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function unpackIso(iso: string, out: string, signal: AbortSignal): Promise<void> {
  const words = (from: string, to: string) => ["-osirrox", "on", "-indev", from, "-extract", "/", join(to, "capsule")];
  try {
    const root = await findRoot();
    if (root !== undefined) {
      const command = ["xorriso", ...words("/in/iso", "/out")] as const;
      await runInSandbox({ root, command, inputs: { iso }, out, epoch: 0, signal });
      return;
    }
    const host = await findTool("xorriso");
    if (host === undefined) {
      throw new KubedosError("failed", `reading ${iso} needs xorriso`, {
        hint: `mount it (mount -o loop,ro ${iso} /mnt) and name the directory, or apt-get install xorriso`,
      });
    }
    await run(host, words(iso, out), { signal, timeoutMs: 10 * 60_000 });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof KubedosError && error.hint !== undefined) throw error;
    throw new KubedosError("failed", `${iso} is not a capsule, or it is damaged`, {
      hint: "compare its sha256 with the one that was noted at its creation; use another copy",
      cause: error,
    });
  }
}

/** Any foundry root of this machine's cache that has xorriso. */
async function findRoot(): Promise<string | undefined> {
  const parent = join(cacheDirectory(), "foundry");
  const names = await readdir(parent).catch((): string[] => []);
  return names
    .filter((name) => /^[0-9a-f]{32}$/.test(name))
    .map((name) => join(parent, name))
    .find((root) => existsSync(join(root, "usr/bin/xorriso")));
}

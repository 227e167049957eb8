import { readFileSync } from "node:fs";
import { link, mkdir, open, readFile, rename, rm, stat, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { freshBytes } from "./random.ts";

/**
 * Writes a new file that only its owner can read (0600): whole or not at all, and never over an existing one.
 * Missing directories are made, readable by the owner only.
 *
 * @throws KubedosError when the file exists or cannot be written
 */
export async function writeNewPrivateFile(path: string, content: string, existsHint: string): Promise<void> {
  const temporary = `${path}.${freshBytes(6).toString("hex")}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await withFile(temporary, "wx", async (file) => {
      await file.writeFile(content);
      await file.sync();
    });
    // A hard link, unlike a rename, fails when the name is taken.
    await link(temporary, path);
    await withFile(dirname(path), "r", (directory) => directory.sync());
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "EEXIST") {
      throw new KubedosError("failed", `${path} exists already`, { hint: existsHint, cause });
    }
    throw new KubedosError("failed", `cannot write ${path}: ${(cause as Error).message}`, { cause });
  } finally {
    await rm(temporary, { force: true });
  }
}

/**
 * Writes a file that only its owner can read (0600), in the place of an existing one: whole or not at all.
 *
 * @throws KubedosError when it cannot be written
 */
export async function replacePrivateFile(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = `${path}.${freshBytes(6).toString("hex")}.tmp`;
  try {
    await withFile(temporary, "wx", async (file) => {
      await file.writeFile(content);
      await file.sync();
    });
    await rename(temporary, path);
    await withFile(dirname(path), "r", (directory) => directory.sync());
  } catch (cause) {
    throw new KubedosError("failed", `cannot write ${path}: ${(cause as Error).message}`, { cause });
  } finally {
    await rm(temporary, { force: true });
  }
}

/**
 * Reads a small file (up to 1 MiB unless told) that holds or protects a secret; `-` is standard input.
 *
 * @throws KubedosError with `missingHint` when it does not exist, is a directory, too large or not readable
 */
export async function readSmallFile(
  path: string,
  what: string,
  missingHint: string,
  maxBytes = 1024 * 1024,
): Promise<Buffer> {
  try {
    if (path === "-") return readFileSync(0); // a pipe or a socket, which has no name to open
    const { size } = await stat(path);
    if (size > maxBytes) throw new Error(`${size} bytes are too many for ${what}`);
    return await readFile(path);
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    const message = missing
      ? `there is no ${what} ${path}`
      : `cannot read ${what} ${path}: ${(cause as Error).message}`;
    throw new KubedosError("failed", message, { cause, ...(missing ? { hint: missingHint } : {}) });
  }
}

/** Whether others than the owner may read a regular file. A pipe or a missing file: no. */
export async function isReadableByOthers(path: string): Promise<boolean> {
  const status = await stat(path).catch(() => undefined);
  return status?.isFile() === true && (status.mode & 0o077) !== 0;
}

export async function fileExists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

async function withFile(path: string, flags: string, use: (file: FileHandle) => Promise<void>): Promise<void> {
  const file = await open(path, flags, 0o600);
  try {
    await use(file);
  } finally {
    await file.close();
  }
}

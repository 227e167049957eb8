import { lstat, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";

/** sun_path of unix(7) holds 108 bytes, the last of which is NUL. */
const socketPathBytes = 107;

/**
 * Makes the directory for sockets, for its owner only. Where it lies below /tmp somebody else may have made it first.
 *
 * @throws KubedosError when it belongs to another user, or is no directory
 */
export async function makeRuntimeDirectory(directory: string): Promise<void> {
  // What stands in its way (a file, a directory of somebody else) is seen below.
  const cause: unknown = await mkdir(directory, { recursive: true, mode: 0o700 }).then(
    () => undefined,
    (error: unknown) => error,
  );
  const status = await lstat(directory).catch(() => undefined);
  const ours = status?.isDirectory() === true && status.uid === (process.getuid?.() ?? 0);
  if (ours && (status.mode & 0o022) === 0) return;
  throw new KubedosError("failed", `${directory} is not a directory of this user alone`, {
    cause,
    hint: "set KUBEDOS_RUNTIME to a directory that nobody else can write to",
  });
}

/** Path of a socket. @throws KubedosError when it is longer than the kernel takes */
export function socketPath(directory: string, name: string): string {
  const path = join(directory, name);
  if (Buffer.byteLength(path) <= socketPathBytes) return path;
  throw new KubedosError("failed", `too long for a socket (${socketPathBytes} bytes at most): ${path}`, {
    hint: "set KUBEDOS_RUNTIME to a directory with a shorter path",
  });
}

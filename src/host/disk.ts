import { statfs } from "node:fs/promises";
import { KubedosError } from "../../shared/error.ts";

/** Below this, in bytes, a file system counts as full. */
const nothingLeftBytes = 16 * 1024 * 1024;

/**
 * An error that comes from a full disk says which disk it was; any other error is handed back as it is. To be called
 * before what was half-made there is removed.
 *
 * @param directory where the failed step wrote
 */
export async function nameFullDisk(error: unknown, directory: string): Promise<unknown> {
  const text = error instanceof Error ? `${(error as NodeJS.ErrnoException).code} ${error.message}` : "";
  if (!/ENOSPC|EDQUOT|No space left on device|Disk quota exceeded/.test(text)) return error;
  if (error instanceof KubedosError && error.message.startsWith("the disk is full")) return error;
  const { bavail, bsize, blocks } = await statfs(directory);
  // A tool of the sandbox also works in memory: then the disk has room, and the error speaks for itself.
  if (error instanceof KubedosError && bavail * bsize > nothingLeftBytes) {
    return new KubedosError(error.code, error.message, {
      hint: error.hint ?? "the work files of a build are kept in memory: it needs about 2 GiB of it",
      cause: error,
    });
  }
  const left = `${Math.floor((bavail * bsize) / 1e6)} of ${Math.floor((blocks * bsize) / 1e6)} MB left`;
  const detail = error instanceof Error ? error.message : String(error);
  return new KubedosError("failed", `the disk is full: ${directory} (${left})\n${detail}`, {
    hint: "make room (`kubedos store gc`), or set KUBEDOS_CACHE to a larger disk; what was half-made is removed",
    cause: error,
  });
}

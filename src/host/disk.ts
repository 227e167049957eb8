import { stat, statfs } from "node:fs/promises";
import { KubedosError } from "../../shared/error.ts";

/** Below this, in bytes, a file system is full; not all tools say why they fail then. */
const nothingLeftBytes = 1024 * 1024;
/** Below this, in bytes, it is full if a tool says that something was. */
const littleLeftBytes = 16 * nothingLeftBytes;

/**
 * An error that comes from a full disk says which disk it was; any other error is handed back as it is. To be called
 * before what was half-made there is removed.
 *
 * @param directory where the failed step wrote
 */
export async function nameFullDisk(error: unknown, directory: string): Promise<unknown> {
  const known = error instanceof KubedosError;
  if (known && (error.code === "interrupted" || error.message.startsWith("the disk is full"))) return error;
  const text = error instanceof Error ? `${(error as NodeJS.ErrnoException).code} ${error.message}` : "";
  const says = /ENOSPC|EDQUOT|No space left on device|Disk quota exceeded/.test(text);
  const space = await statfs(directory).catch(() => undefined);
  if (space === undefined) return error;
  const { bavail, bsize, blocks } = space;
  if (!says && bavail * bsize > nothingLeftBytes) return error;
  // A tool of the sandbox also works in memory: then the disk has room, and the error speaks for itself.
  if (known && bavail * bsize > littleLeftBytes) {
    return new KubedosError(error.code, error.message, {
      hint: error.hint ?? "the work files of a build are kept in memory: it needs about 2 GiB of it",
      cause: error,
    });
  }
  const left = `${Math.floor((bavail * bsize) / 1e6)} of ${Math.floor((blocks * bsize) / 1e6)} MB left`;
  const detail = error instanceof Error ? error.message : String(error);
  return new KubedosError("failed", `the disk is full: ${directory} (${left})\n${detail}`, {
    hint: "make room (`kubedos store gc --max-size 10GB`), or set KUBEDOS_CACHE to a larger disk; what was half-made is removed",
    cause: error,
  });
}

/** Names of the file systems that a build is likely to meet; statfs(2). */
const fileSystems: Record<number, string> = {
  0x01021994: "tmpfs",
  0xef53: "ext4",
  0x58465342: "xfs",
  0x9123683e: "btrfs",
  0x794c7630: "overlayfs",
  0x2fc12fc1: "zfs",
};

/** Size in bytes of a file, and the kind of file system that it is on. */
export async function fileSystemOf(path: string): Promise<{ sizeBytes: number; type: string }> {
  const [{ size }, { type }] = await Promise.all([stat(path), statfs(path)]);
  return { sizeBytes: size, type: fileSystems[type] ?? `file system 0x${type.toString(16)}` };
}

/** For a file that need not be there: any other failure is one. */
export function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT") throw error;
}

import { constants } from "node:fs";
import { open, readdir, type FileHandle } from "node:fs/promises";
import { basename } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { run } from "./run.ts";

/** A block device as `lsblk --json --bytes` tells it (lsblk(8)); absent facts are null there. */
export interface BlockDevice {
  path: string;
  /** `disk`, `part`, `loop`, `crypt`, `lvm`, `raid1` … */
  type: string;
  size: number;
  model?: string | null;
  serial?: string | null;
  /** Bus: `usb`, `sata`, `nvme` … */
  tran?: string | null;
  /** Removable medium. */
  rm: boolean;
  ro: boolean;
  /** What blkid finds on it; absent: nothing. */
  fstype?: string;
  pttype?: string;
  mountpoints: (string | null)[];
  children?: BlockDevice[];
}

const columns = "PATH,TYPE,SIZE,MODEL,SERIAL,TRAN,RM,RO,MOUNTPOINTS";

/**
 * The device with all that is on top of it (partitions, volumes, arrays).
 *
 * @throws KubedosError when there is no such block device
 */
export async function readBlockDevice(path: string, signal: AbortSignal): Promise<BlockDevice> {
  const hint = "name a whole disk, e.g. /dev/sdb; `lsblk -o NAME,SIZE,MODEL,SERIAL` lists them";
  const { stdout } = await run("lsblk", ["--json", "--bytes", "--tree", "--output", columns, path], { signal, hint });
  const [device] = (JSON.parse(stdout) as { blockdevices: BlockDevice[] }).blockdevices;
  if (device === undefined) throw new KubedosError("usage", `${path} is not a block device`, { hint });
  return probed(device, signal);
}

/**
 * The device with what is on it. Asked of the disk itself (blkid(8), low-level probing): lsblk repeats what udev has
 * noted, which may be nothing.
 */
async function probed(device: BlockDevice, signal: AbortSignal): Promise<BlockDevice> {
  const { status, stdout } = await run("blkid", ["--probe", "--output", "export", device.path], {
    signal,
    okStatuses: [0, 2, 4, 8],
  });
  const value = (name: string) => new RegExp(`^${name}=(.*)$`, "m").exec(stdout)?.[1];
  // 8: several that contradict each other.
  const fstype = status === 8 ? "several signatures" : value("TYPE");
  const children = await Promise.all((device.children ?? []).map((child) => probed(child, signal)));
  return { ...device, fstype, pttype: value("PTTYPE"), children };
}

/** Whether the first and the last MiB are empty; false where they cannot be read. */
export async function looksBlank({ path, size }: BlockDevice): Promise<boolean> {
  const handle = await open(path).catch(() => undefined);
  if (handle === undefined) return false;
  try {
    const length = Math.min(1024 * 1024, size);
    for (const at of [0, size - length]) {
      const bytes = Buffer.alloc(length);
      const { bytesRead } = await handle.read(bytes, 0, length, at);
      if (bytesRead !== length || bytes.some((byte) => byte !== 0)) return false;
    }
    return true;
  } finally {
    await handle.close();
  }
}

/** What holds the device itself (not its partitions): names of mapped devices, arrays, pools. */
export async function holdersOf(path: string): Promise<string[]> {
  return readdir(`/sys/class/block/${basename(path)}/holders`).catch(() => []);
}

/**
 * Opens a whole disk for writing, with the kernel's word that nothing else uses it (open(2), O_EXCL on block devices).
 *
 * @throws KubedosError when it is in use, or may not be opened
 */
export async function openExclusively(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_RDWR | constants.O_EXCL);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "EBUSY") throw new KubedosError("failed", `${path} is in use`, { cause, hint: "unmount it first" });
    if (code === "EACCES" || code === "EPERM") {
      throw new KubedosError("failed", `${path} may not be written by this user`, { cause, hint: "run it with sudo" });
    }
    throw new KubedosError("failed", `${path} cannot be opened: ${(cause as Error).message}`, { cause });
  }
}

/** Drops what the kernel remembers of the device, so that the next read comes from the device itself. */
export async function forgetCached(path: string, signal: AbortSignal): Promise<void> {
  await run("blockdev", ["--flushbufs", path], { signal });
}

/** Makes the kernel look at the partition table anew; a device that has none to offer is left as it is. */
export async function rereadPartitions(path: string): Promise<void> {
  await run("blockdev", ["--rereadpt", path], { okStatuses: [0, 1] });
}

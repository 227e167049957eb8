import { constants } from "node:fs";
import { copyFile, mkdir, readdir, rename, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { acquire } from "../acquire/acquire.ts";
import { lockSources } from "../acquire/sources.ts";
import type { RunContext } from "../host/context.ts";
import { uniqueBeside } from "../host/unique.ts";
import { lockedObjects } from "../lock/objects.ts";
import type { Lock } from "../lock/types.ts";
import { writeOciLayout } from "../seal/oci-layout.ts";
import type { Spec } from "../spec/types.ts";
import type { Store } from "../store/store.ts";

export interface ExportedInputs {
  directory: string;
  wheels: number;
  files: number;
  images: number;
}

/**
 * Writes a lock's Python distributions (`python/`, for pip's find-links), files (`files/`) and images (`images/`, an OCI
 * layout) as other tools read them. The directory appears when it is complete.
 *
 * @throws KubedosError when the directory is there and not empty, or something is neither in the store nor to be had
 */
export async function exportInputs(
  { spec, lock }: { spec: Spec; lock: Lock },
  directory: string,
  store: Store,
  context: RunContext,
): Promise<ExportedInputs> {
  const { wheels = [], blobs = [], images = [] } = lock;
  const target = resolve(directory);
  const names = await readdir(target).catch(() => []);
  if (names.length > 0) {
    throw new KubedosError("usage", `${target} is there and not empty`, {
      hint: "name a directory that does not exist",
    });
  }
  const lease = await store.lease(context.signal);
  const partial = uniqueBeside(target);
  try {
    const kinds = new Set(["wheel", "blob", "image"]);
    const objects = lockedObjects(lock).filter(({ kind }) => kinds.has(kind));
    await acquire(objects, () => lockSources(spec, lock, context), store, context);
    const place = async (folder: string, name: string, sha256: string) => {
      await mkdir(join(partial, folder), { recursive: true });
      await copyFile(store.path(sha256), join(partial, folder, name), constants.COPYFILE_FICLONE);
    };
    await mkdir(partial, { recursive: true });
    for (const { filename, sha256 } of wheels) await place("python", filename, sha256);
    for (const { name, sha256 } of blobs) await place("files", name, sha256);
    if (images.length > 0) await writeOciLayout(images, join(partial, "images"), store);
    await rm(target, { recursive: true, force: true });
    await rename(partial, target);
  } finally {
    await rm(partial, { recursive: true, force: true });
    await lease.release();
  }
  const filenames = new Set(wheels.map(({ filename }) => filename));
  return { directory: target, wheels: filenames.size, files: blobs.length, images: images.length };
}

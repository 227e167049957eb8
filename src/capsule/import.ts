import { copyFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError, type Problem } from "../../shared/error.ts";
import type { RunContext } from "../host/context.ts";
import { nameFullDisk } from "../host/disk.ts";
import { hashFile, type Store } from "../store/store.ts";
import { capsuleFolders } from "./format.ts";

/** Inputs that a capsule has brought into the store. */
export interface ImportedObjects {
  /** All that the capsule holds. */
  objects: number;
  /** Of these, what the store did not have, and its bytes. */
  imported: number;
  sizeBytes: number;
}

/**
 * Brings a capsule's inputs into the store. Each has its hash checked, and a lock names it by that hash, so that it does
 * not matter who made the capsule.
 *
 * @throws KubedosError that names every damaged object; the others are in the store then
 */
export async function importObjects(
  capsule: string,
  store: Store,
  { signal }: Pick<RunContext, "signal">,
): Promise<ImportedObjects> {
  const fan = join(capsule, capsuleFolders.store);
  const parts = await readdir(fan).catch((cause: unknown) => {
    throw new KubedosError("usage", `${capsule} is not a capsule: it has no ${capsuleFolders.store}`, {
      hint: "name the directory or ISO that `capsule create` wrote; volumes are joined first (JOIN.sh)",
      cause,
    });
  });
  const result = { objects: 0, imported: 0, sizeBytes: 0 };
  const problems: Problem[] = [];
  for (const part of parts.filter((name) => /^[0-9a-f]{2}$/.test(name)).toSorted()) {
    const hashes = (await readdir(join(fan, part))).filter((name) => /^[0-9a-f]{64}$/.test(name));
    for (const hash of hashes.toSorted()) {
      signal.throwIfAborted();
      result.objects++;
      if ((await store.verify(hash)) === "ok") continue;
      const temporary = await store.temporary();
      try {
        await copyFile(join(fan, part, hash), temporary);
        if ((await hashFile(temporary, signal)) === hash) {
          result.sizeBytes += (await store.putFile(temporary, hash)).sizeBytes;
          result.imported++;
        } else problems.push({ message: `${capsuleFolders.store}/${part}/${hash} is altered` });
      } catch (error) {
        throw await nameFullDisk(error, store.directory);
      } finally {
        await rm(temporary, { force: true });
      }
    }
  }
  if (problems.length === 0) return result;
  throw new KubedosError("failed", `the capsule is damaged: ${problems[0]!.message}`, {
    hint: "use another copy of the capsule; `capsule verify` lists all that is wrong",
    problems,
  });
}

import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { KubedosError } from "../../shared/error.ts";
import { acquire, acquireSources } from "../acquire/acquire.ts";
import { formatBytes } from "../acquire/messages.ts";
import type { RunContext } from "../host/context.ts";
import { readPackagesIndexes, readSuites } from "../lock/apt.ts";
import { withIndexes, type LockRequest } from "../lock/lock.ts";
import { packagesOf, poolStore } from "../repository/archive.ts";
import { copyObject, finishRepository, openRepositoryDirectory, placePackage } from "../repository/directory.ts";
import { poolFiles, type PoolFile } from "../repository/pool.ts";
import { keySigner } from "../repository/signer.ts";
import { certificateFile, suiteFiles } from "../repository/release.ts";
import { openpgpFingerprint, type OpenpgpKey } from "../vault/openpgp.ts";
import type { CreatedRepository } from "./repository.ts";

/** A whole archive to be written to a directory. */
export interface ArchiveRequest extends Pick<
  LockRequest,
  "suite" | "profile" | "mirror" | "components" | "keyring" | "cache"
> {
  key: OpenpgpKey;
  label: string;
  /** The person has seen the size and wants it. */
  acceptSize: boolean;
}

/**
 * Writes every package of the suites, not only a lock's: for sites that are to be independent of any mirror. The size is
 * known from the indexes, before anything is fetched. Goes on where an interrupted run stopped; the indexes come last,
 * under the foundry's signature.
 *
 * @throws KubedosError code "usage" that names the size, unless `acceptSize`; code "failed" when the disk is too small
 */
export async function createFullRepository(
  request: ArchiveRequest,
  directory: string,
  context: RunContext,
): Promise<CreatedRepository> {
  const lease = await openRepositoryDirectory(directory, context.signal);
  try {
    // 1. Indexes that the archive has signed.
    const { indexes, suites } = await withIndexes(request, context, async (apt) => ({
      indexes: await readPackagesIndexes(apt),
      suites: await readSuites(apt),
    }));
    const pool = poolFiles(indexes.flatMap(packagesOf));
    const store = poolStore(directory, pool);
    const entries = pool.map(({ entry }) => entry);
    // 2. How much it is, and whether it is wanted.
    const missingBytes = await bytesToFetch(pool, store);
    const sizeBytes = entries.reduce((sum, entry) => sum + entry.sizeBytes, 0);
    const names = suites.map(({ suite }) => suite);
    const what = `the whole archive (${names.join(", ")}): ${pool.length} packages, ${formatBytes(sizeBytes)}, of which ${formatBytes(missingBytes)} are to be fetched`;
    if (!request.acceptSize) {
      throw new KubedosError("usage", what, { hint: "add --accept-size to write it to this directory" });
    }
    context.emit({ type: "log", level: "info", message: what });
    await needSpace(directory, missingBytes);
    // 3. Packages, straight to their places; the same bytes under a second name are copied.
    await acquire(entries, () => acquireSources(request.mirror, context.signal), store, context);
    for (const { path, entry } of pool.filter(
      ({ path, entry }) => store.path(entry.sha256) !== join(directory, path),
    )) {
      const bring = (file: string) => copyObject(store.path(entry.sha256), file);
      await placePackage(directory, { path, sizeBytes: entry.sizeBytes, sha256: entry.sha256, bring });
    }
    // 4. What describes them.
    const signer = keySigner(request.key);
    const files = suites.flatMap(({ suite, date }) => {
      const text = indexes.filter((index) => index.suite === suite).map((index) => index.text);
      const packages = Buffer.from(text.join("\n"));
      const fields = { suite, label: request.label, date };
      return suiteFiles(fields, { Packages: packages, "Packages.gz": gzipSync(packages) }, signer);
    });
    await finishRepository(directory, [certificateFile(signer), ...files], pool);
    return {
      directory,
      suites: names,
      packages: pool.length,
      others: 0,
      sizeBytes,
      fingerprint: openpgpFingerprint(request.key),
    };
  } finally {
    await lease.release();
  }
}

async function bytesToFetch(pool: readonly PoolFile[], store: ReturnType<typeof poolStore>): Promise<number> {
  let bytes = 0;
  for (const { entry } of pool) if ((await store.size(entry.sha256)) !== entry.sizeBytes) bytes += entry.sizeBytes;
  return bytes;
}

async function needSpace(directory: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(directory);
  if (bavail * bsize > bytes) return;
  throw new KubedosError(
    "failed",
    `${directory}: ${formatBytes(bytes)} to fetch, ${formatBytes(bavail * bsize)} free`,
    { hint: "name a directory on a larger disk" },
  );
}

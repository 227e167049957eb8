import { readFile } from "node:fs/promises";
import { acquire } from "../acquire/acquire.ts";
import { lockSources } from "../acquire/sources.ts";
import { runStages } from "../assemble/engine.ts";
import { locateFoundry, openFoundry } from "../assemble/foundry.ts";
import type { RunContext } from "../host/context.ts";
import { buildObjects } from "../lock/objects.ts";
import { copyObject, finishRepository, openRepositoryDirectory, placePackage } from "../repository/directory.ts";
import { inputFiles } from "../repository/inputs.ts";
import { poolFiles } from "../repository/pool.ts";
import { keySigner } from "../repository/signer.ts";
import { packagesStage, poolObject, repositoryFiles, repositoryIdentity } from "../repository/stages.ts";
import { checkImages } from "../seal/oci-layout.ts";
import { archiveKey } from "../vault/archive-key.ts";
import { openpgpFingerprint } from "../vault/openpgp.ts";
import type { Project } from "./project.ts";

/** A repository as a directory, made or brought up to date. */
export interface CreatedRepository {
  directory: string;
  /** Suites below `dists/`. */
  suites: string[];
  packages: number;
  /** Python distributions, files and parts of images. */
  others: number;
  /** Of all these. */
  sizeBytes: number;
  /** Of the key that signed it. */
  fingerprint: string;
}

/** Writes the platform's locked packages as a signed apt repository, and beside them what else is locked. Run again, it goes on where it stopped. */
export async function createRepository(
  project: Pick<Project, "spec" | "lock" | "vault" | "store">,
  directory: string,
  context: RunContext,
): Promise<CreatedRepository> {
  const { spec, lock, vault, store } = project;
  const lease = await openRepositoryDirectory(directory, context.signal);
  const use = await store.lease(context.signal);
  try {
    // 1. Packages and tools.
    await acquire(buildObjects(lock), () => lockSources(spec, lock, context), store, context);
    await checkImages(lock.images ?? [], store);
    await openFoundry(lock, store, context);
    // 2. Index.
    const tools = { foundry: locateFoundry(lock, store), epoch: lock.epoch };
    const stage = packagesStage(tools, lock.platform, store);
    const { outputs } = (await runStages([stage], store, context)).get(stage)!;
    const indexes: Record<string, Uint8Array> = {};
    for (const [name, { sha256 }] of Object.entries(outputs)) indexes[name] = await readFile(store.path(sha256));
    // 3. Files, what describes them last.
    const key = archiveKey(vault);
    const identity = repositoryIdentity(spec, lock, keySigner(key));
    const others = inputFiles(lock, identity.signer, identity.fields.date);
    const pool = poolFiles(lock.platform).map(poolObject);
    const objects = [...pool, ...others.objects];
    for (const { path, sha256, sizeBytes } of objects) {
      context.signal.throwIfAborted();
      const bring = (file: string) => copyObject(store.path(sha256), file);
      await placePackage(directory, { path, sizeBytes, sha256, bring });
    }
    await finishRepository(directory, [...repositoryFiles(identity, indexes), ...others.files], objects);
    return {
      directory,
      suites: [identity.fields.suite],
      packages: pool.length,
      others: others.objects.length,
      sizeBytes: objects.reduce((sum, one) => sum + one.sizeBytes, 0),
      fingerprint: openpgpFingerprint(key),
    };
  } finally {
    await use.release();
    await lease.release();
  }
}

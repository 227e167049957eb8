import { readFile } from "node:fs/promises";
import { acquire, acquireSources } from "../acquire/acquire.ts";
import { runStages } from "../assemble/engine.ts";
import { locateFoundry, openFoundry } from "../assemble/foundry.ts";
import type { RunContext } from "../host/context.ts";
import { copyObject, finishRepository, openRepositoryDirectory, placePackage } from "../repository/directory.ts";
import { poolFiles } from "../repository/pool.ts";
import { keySigner } from "../repository/signer.ts";
import { packagesStage, repositoryFiles, repositoryIdentity } from "../repository/stages.ts";
import { archiveKey } from "../vault/archive-key.ts";
import { openpgpFingerprint } from "../vault/openpgp.ts";
import type { Project } from "./project.ts";

/** A repository as a directory, made or brought up to date. */
export interface CreatedRepository {
  directory: string;
  /** Suites below `dists/`. */
  suites: string[];
  packages: number;
  /** Of all packages. */
  sizeBytes: number;
  /** Of the key that signed it. */
  fingerprint: string;
}

/** Writes the platform's locked packages as a signed apt repository. Run again, it goes on where it stopped. */
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
    const inputs = [...lock.platform, ...lock.foundry];
    await acquire(inputs, () => acquireSources(spec.platform.mirror, context.signal), store, context);
    await openFoundry(lock, store, context);
    // 2. Index.
    const tools = { foundry: locateFoundry(lock, store), epoch: lock.epoch };
    const stage = packagesStage(tools, lock.platform, store);
    const { outputs } = (await runStages([stage], store, context)).get(stage)!;
    const indexes: Record<string, Uint8Array> = {};
    for (const [name, { sha256 }] of Object.entries(outputs)) indexes[name] = await readFile(store.path(sha256));
    // 3. Files, what describes them last.
    const pool = poolFiles(lock.platform);
    for (const { path, entry } of pool) {
      context.signal.throwIfAborted();
      const bring = (file: string) => copyObject(store.path(entry.sha256), file);
      await placePackage(directory, { path, sizeBytes: entry.sizeBytes, sha256: entry.sha256, bring });
    }
    const key = archiveKey(vault);
    const identity = repositoryIdentity(spec, lock, keySigner(key));
    await finishRepository(directory, repositoryFiles(identity, indexes), pool);
    return {
      directory,
      suites: [identity.fields.suite],
      packages: pool.length,
      sizeBytes: pool.reduce((sum, { entry }) => sum + entry.sizeBytes, 0),
      fingerprint: openpgpFingerprint(key),
    };
  } finally {
    await use.release();
    await lease.release();
  }
}

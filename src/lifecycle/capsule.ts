import { rm } from "node:fs/promises";
import { acquire, acquireSources } from "../acquire/acquire.ts";
import { createDirectory, createIso, type CreatedCapsule } from "../capsule/create.ts";
import { planCapsule } from "../capsule/layout.ts";
import { createVolumes } from "../capsule/volumes.ts";
import { locateFoundry } from "../assemble/foundry.ts";
import { stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { signifySignature } from "../vault/signify.ts";
import { build } from "./build.ts";
import { readBeside } from "./content.ts";
import type { Project } from "./project.ts";

export interface CapsuleOptions {
  /** Directory, or a file whose name ends with `.iso`. */
  output: string;
  withVault: boolean;
  /** Size of one medium in bytes. */
  splitBytes?: number;
}

/** Builds what is not built yet, and puts everything into a capsule. */
export async function createCapsule(
  project: Project,
  options: CapsuleOptions,
  context: RunContext,
): Promise<CreatedCapsule & { seconds: number }> {
  const { lock, paths, store, spec, build: inputs } = project;
  const { output, withVault, splitBytes } = options;
  await build(inputs, paths, store, context);
  await acquire(lock.machines ?? [], () => acquireSources(spec.platform.mirror, context.signal), store, context);
  if (lock.machines === undefined) {
    const message = "the lock is of an earlier version: the capsule has no QEMU (`kubedos lock --update` adds it)";
    context.emit({ type: "log", level: "warn", message });
  }
  const elapsed = stopwatch();
  const id = "capsule";
  context.emit({ type: "stage.started", stage: id, id });
  const lease = await store.lease(context.signal);
  try {
    const sign = async (message: Uint8Array) =>
      signifySignature(inputs.signing.publicKey, await inputs.signing.sign(message));
    const content = await readBeside(paths.spec);
    const files = await planCapsule({ cluster: spec.metadata.name, lock, paths, store, withVault, sign, content });
    const tools = { root: locateFoundry(lock, store).directory, epoch: lock.epoch, label: spec.metadata.name };
    let created: CreatedCapsule;
    if (splitBytes !== undefined) {
      created = await createVolumes(files, output, splitBytes, tools, context);
    } else if (output.endsWith(".iso")) {
      const directory = output.replace(/\.iso$/, ".iso-files");
      created = await createDirectory(files, directory, lock.epoch, context);
      try {
        created = { ...created, path: output, sizeBytes: await createIso(directory, output, tools, context) };
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
    } else created = await createDirectory(files, output, lock.epoch, context);
    const seconds = elapsed();
    context.emit({ type: "stage.done", stage: id, id, seconds, sizeBytes: created.sizeBytes });
    return { ...created, seconds };
  } finally {
    await lease.release();
  }
}

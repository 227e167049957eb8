import { rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import type { RunContext } from "../host/context.ts";
import { takeExclusive } from "../host/lease.ts";
import type { SpecPaths } from "../host/paths.ts";
import { foreignEntries } from "./machines.ts";
import { destroyNetwork } from "./network.ts";
import { disconnectOperator } from "./operator.ts";

/** One change to a cluster's machines at a time, also between two runs of kubedos. */
export async function changeLab<T>(paths: SpecPaths, context: RunContext, change: () => Promise<T>): Promise<T> {
  const lease = await takeExclusive(leaseFile(paths), context.signal);
  try {
    return await change();
  } finally {
    await lease.release();
  }
}

/**
 * The end of every `down`, after the machines: operator's peer, network and what is empty. While machines of another
 * substrate are there, or a directory that is not kubedos' own, the rest stays as it is.
 */
export async function removeRest(paths: SpecPaths, others: readonly unknown[], context: RunContext): Promise<void> {
  if (others.length > 0) return;
  await disconnectOperator(paths);
  await destroyNetwork(paths);
  for (const made of ["layer", "artifacts"]) await rm(join(paths.state, made), { recursive: true, force: true });
  for (const made of ["run.json", "issued.json"]) await rm(join(paths.state, made), { force: true });
  for (const directory of await foreignEntries(paths)) {
    const message = `left alone, not made by kubedos: ${directory}`;
    context.emit({ type: "log", level: "warn", message });
  }
  await removeIfEmpty(join(paths.state, "nodes"));
}

/** Removes the directories of a cluster that hold nothing any more; reports stay. */
export async function removeEmptyDirectories(paths: SpecPaths): Promise<void> {
  await removeIfEmpty(paths.runtime);
  await removeIfEmpty(paths.state);
}

async function removeIfEmpty(directory: string): Promise<void> {
  await rmdir(directory).catch(() => undefined); // not empty, or not there
}

function leaseFile(paths: SpecPaths): string {
  return join(paths.state, "lab.lease");
}

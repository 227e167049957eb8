import { rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { nowMs } from "../host/clock.ts";
import { tryExclusive } from "../host/lease.ts";
import { specPaths, type SpecPaths } from "../host/paths.ts";
import { loadSpec } from "../spec/load.ts";

/**
 * Runs what changes a cluster's machines, and nothing else that does at the same time: two runs would take each
 * other's machines and way in. What only looks needs no hold.
 *
 * @param verb what holds it, for whoever finds it held
 * @throws KubedosError (failed) with verb, pid and time of the run that holds the cluster; never waits
 */
export async function holdCluster<T>(specFile: string, verb: string, change: () => Promise<T>): Promise<T> {
  const { metadata } = await loadSpec(specFile); // before any directory is made
  const paths = specPaths(specFile);
  const held = await tryExclusive(holdFile(paths), `${verb} ${new Date(nowMs()).toISOString()}`);
  if ("pid" in held) {
    const [holder, since] = held.note.split(" ");
    throw new KubedosError(
      "failed",
      `${metadata.name} is being changed by \`kubedos ${holder}\`, pid ${held.pid}, since ${since}; nothing was done`,
      { hint: `wait until it has ended; or end it with Ctrl-C where it runs, or \`kill -INT ${held.pid}\`` },
    );
  }
  try {
    return await change();
  } finally {
    await held.release();
    for (const directory of [paths.state, dirname(paths.state)]) await rmdir(directory).catch(() => undefined); // if empty
  }
}

/** Lease of the run that changes the cluster. */
export function holdFile(paths: SpecPaths): string {
  return join(paths.state, "hold.lease");
}

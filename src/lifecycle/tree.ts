import { existsSync } from "node:fs";
import { chmod, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Foundry } from "../assemble/foundry.ts";
import { stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { takeExclusive } from "../host/lease.ts";
import { runInSandbox } from "../host/sandbox.ts";
import type { Store } from "../store/store.ts";
import { noteUse } from "../store/unpacked.ts";

/**
 * The sealed root as a directory, for substrates that share the host's kernel: unpacked from the very erofs image that
 * the sealed targets carry, once, kept in the cache. Needs root, for the owners of the files.
 */
export async function extractTree(
  foundry: Foundry,
  store: Store,
  root: { path: string; sha256: string },
  epoch: number,
  context: RunContext,
): Promise<string> {
  const base = join(store.directory, "trees");
  const tree = join(base, root.sha256.slice(0, 32));
  if (existsSync(tree)) {
    await noteUse(tree);
    return tree;
  }
  await mkdir(base, { recursive: true, mode: 0o700 });
  const lease = await takeExclusive(`${tree}.lease`, context.signal);
  const partial = `${tree}.partial`;
  try {
    if (existsSync(tree)) return tree;
    const elapsed = stopwatch();
    context.emit({ type: "stage.started", stage: "unpack", id: root.sha256 });
    await rm(partial, { recursive: true, force: true });
    await runInSandbox({
      root: foundry.directory,
      command: ["fsck.erofs", "--extract=/out/tree", "--preserve", "/in/root"],
      inputs: { root: root.path },
      out: partial,
      epoch,
      signal: context.signal,
    });
    await chmod(join(partial, "tree"), 0o755);
    await rename(join(partial, "tree"), tree);
    await noteUse(tree);
    context.emit({ type: "stage.done", stage: "unpack", id: root.sha256, seconds: elapsed() });
  } finally {
    await rm(partial, { recursive: true, force: true });
    await lease.release();
  }
  return tree;
}

import { createHash } from "node:crypto";
import { copyFile, cp, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import type { RunContext } from "../host/context.ts";
import { rebuildPublished, type Rebuilt } from "../lifecycle/rebuild.ts";
import { parseManifest, manifestFiles } from "../seal/manifest.ts";
import type { Store } from "../store/store.ts";
import { createUnder } from "./create.ts";
import { capsuleFiles, capsuleFolders, readIndex } from "./format.ts";
import { toolArchive } from "./tool.ts";
import { verifyCapsule, type CapsuleVerifyOptions } from "./verify.ts";

/**
 * Builds everything in a capsule again, from nothing but the capsule, and compares it with the capsule's artifacts.
 *
 * @param out directory that is made for spec, lock and the rebuilt output
 * @throws KubedosError when the capsule is damaged: a rebuild from altered inputs proves nothing
 */
export async function rebuildCapsule(
  capsule: string,
  out: string,
  store: Store,
  trust: Pick<CapsuleVerifyOptions, "key">,
  context: RunContext,
): Promise<Rebuilt> {
  const { signal, emit } = context;
  // 1. Whole, and unaltered.
  const checks = await verifyCapsule(capsule, { ...trust, anyKey: true, signal });
  const problems = checks
    .filter(({ status }) => status === "failed")
    .flatMap(({ file, findings }) => findings.map(({ message }) => ({ message: `${file}: ${message}` })));
  if (problems.length > 0) {
    throw new KubedosError("failed", `the capsule is damaged: ${problems[0]!.message}`, {
      hint: "use another copy of the capsule; `capsule verify` lists all that is wrong",
      problems,
    });
  }
  const index = await readIndex(capsule);
  const tool = createHash("sha256")
    .update(await toolArchive(index.epoch))
    .digest("hex");
  if (index.files.find(({ path }) => path === capsuleFiles.tool)?.sha256 !== tool) {
    const message =
      "this kubedos is not the one in the capsule: other scripts may give other bytes (sh kubedos.sh uses the capsule's)";
    emit({ type: "log", level: "warn", message });
  }
  // 2. Its inputs into the store, by hash.
  const fan = join(capsule, capsuleFolders.store);
  for (const part of await readdir(fan)) {
    for (const hash of await readdir(join(fan, part))) {
      if ((await store.verify(hash)) === "ok") continue;
      const temporary = await store.temporary();
      await copyFile(join(fan, part, hash), temporary);
      await store.putFile(temporary);
    }
  }
  // 3. Again, where the spec and its lock are.
  await createUnder(out);
  const paths = { spec: join(out, `${index.spec}.yaml`), lock: join(out, `${index.spec}.lock`) };
  await cp(join(capsule, capsuleFolders.spec), out, { recursive: true });
  const directory = join(capsule, capsuleFolders.artifacts);
  const manifest = parseManifest(
    await readFile(join(directory, manifestFiles.manifest), "utf8"),
    manifestFiles.manifest,
  );
  try {
    return await rebuildPublished(paths, { directory, manifest }, join(out, "out", index.spec), store, {
      ...context,
      offline: true,
    });
  } catch (error) {
    await rm(out, { recursive: true, force: true });
    throw error;
  }
}

import { createHash } from "node:crypto";
import { copyFile, cp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import type { RunContext } from "../host/context.ts";
import { ignoreMissing } from "../host/disk.ts";
import { rebuildPublished, type Rebuilt } from "../lifecycle/rebuild.ts";
import { parseManifest, manifestFiles } from "../seal/manifest.ts";
import type { Store } from "../store/store.ts";
import type { UnlockOptions } from "../vault/types.ts";
import { createUnder } from "./create.ts";
import { capsuleFiles, capsuleFolders, readIndex, type CapsuleIndex } from "./format.ts";
import { importObjects } from "./import.ts";
import { toolArchive } from "./tool.ts";
import { verifyCapsule, type CapsuleVerifyOptions } from "./verify.ts";

/** The foundry's vault for a rebuild. */
export interface CapsuleVault {
  /** Where it is; default: in the capsule. */
  file?: string;
  unlock: UnlockOptions;
}

/**
 * Builds everything in a capsule again, from nothing but the capsule, and compares it with the capsule's artifacts.
 *
 * @param out directory that is made for spec, lock and the rebuilt output
 * @param options `vault`: the foundry signs again, instead of its published signatures
 * @throws KubedosError when the capsule is damaged: a rebuild from altered inputs proves nothing
 */
export async function rebuildCapsule(
  capsule: string,
  out: string,
  store: Store,
  options: Pick<CapsuleVerifyOptions, "key"> & { vault?: CapsuleVault },
  context: RunContext,
): Promise<Rebuilt> {
  const { signal, emit } = context;
  // 1. Whole, and unaltered.
  const checks = await verifyCapsule(capsule, { key: options.key, anyKey: true, signal });
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
  await importObjects(capsule, store, context);
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
    if (options.vault !== undefined) await placeVault(options.vault, out, index);
    return await rebuildPublished(
      paths,
      { directory, manifest },
      join(out, "out", index.spec),
      store,
      { ...context, offline: true },
      { vault: options.vault?.unlock, keep: true },
    );
  } catch (error) {
    await rm(out, { recursive: true, force: true });
    throw error;
  }
}

/** The vault, and the keyring that lies beside it, where `openProject` looks for them. */
async function placeVault({ file }: CapsuleVault, out: string, index: CapsuleIndex): Promise<void> {
  const vault = join(out, `${index.spec}.vault`);
  if (file === undefined) {
    if (index.vault) return;
    throw new KubedosError("usage", "there is no vault in this capsule", {
      hint: "name the foundry's: --vault FILE; without it, the published signatures are used",
    });
  }
  await copyFile(file, vault).catch((cause: unknown) => {
    throw new KubedosError("usage", `cannot read the vault ${file}`, { hint: "check --vault", cause });
  });
  const keyring = file.replace(/\.vault$/, ".keyring");
  if (keyring !== file) await copyFile(keyring, join(out, `${index.spec}.keyring`)).catch(ignoreMissing);
}

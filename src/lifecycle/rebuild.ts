import { mkdir } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { acquire } from "../acquire/acquire.ts";
import { lockSources } from "../acquire/sources.ts";
import { runStages } from "../assemble/engine.ts";
import { locateFoundry } from "../assemble/foundry.ts";
import { stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import type { SpecPaths } from "../host/paths.ts";
import { buildObjects, lockedObjects } from "../lock/objects.ts";
import { readBootImage } from "../seal/boot-image.ts";
import { compareOutputs, type FileDifference } from "../seal/compare.ts";
import { compareUkis, within } from "../seal/compare-disk.ts";
import { compareErofs } from "../seal/erofs-compare.ts";
import { keyFingerprint } from "../seal/dsse.ts";
import { imageOf, manifestFiles, type Manifest } from "../seal/manifest.ts";
import { openArtifact } from "../seal/verify-artifact.ts";
import { readTrustedKey } from "../seal/verify-key.ts";
import { openRaw, type Finding } from "../seal/verify-image.ts";
import { verifyGpt } from "../seal/verify-gpt.ts";
import { initrdUnpacker } from "../seal/verify-tools.ts";
import type { Spec } from "../spec/types.ts";
import { adoptActions, makeScratchCache } from "../store/scratch.ts";
import type { Store } from "../store/store.ts";
import type { UnlockOptions } from "../vault/types.ts";
import { build } from "./build.ts";
import { buildGraph, type BuildInputs } from "./graph.ts";
import { openProject } from "./project.ts";
import { asPublished, publishedInputs } from "./published.ts";

/** What a rebuild came to, beside what was published. */
export interface Rebuilt {
  same: boolean;
  /** Where the rebuilt files are. */
  directory: string;
  files: number;
  /** Findings name the published file's bytes. */
  differences: FileDifference[];
  seconds: number;
}

/**
 * Builds a published output again from spec, lock and store, in an empty action cache and without any key, and compares
 * every byte. Differences are named by the file or structure that they are in.
 *
 * @param published an output directory whose manifest's signature was checked
 * @param out where the rebuilt files go
 * @param options `vault`: what opens the vault beside the spec, which then signs again instead of the published
 *   signatures; `keep`: the stages of a rebuild that came out the same count as done in `store`
 */
export async function rebuildPublished(
  paths: Pick<SpecPaths, "spec" | "lock">,
  published: { directory: string; manifest: Manifest; only?: string },
  out: string,
  store: Store,
  context: RunContext,
  options: { vault?: UnlockOptions; keep?: boolean } = {},
): Promise<Rebuilt> {
  const elapsed = stopwatch();
  const { directory, manifest, only } = published;
  const { signal } = context;
  const work = await makeScratchCache(store, []);
  try {
    // 1. What it was made from.
    const inputs =
      options.vault === undefined
        ? await publishedInputs(paths, directory, manifest, work.directory, signal)
        : await vaultInputs(paths.spec, { directory, manifest }, options.vault, context);
    const { lock, spec } = inputs;
    await acquire(buildObjects(lock), () => lockSources(spec, lock, context), store, context);
    const hashes = lockedObjects(lock).map(({ sha256 }) => sha256);
    const cache = await makeScratchCache(store, hashes);
    try {
      // 2. Again.
      await mkdir(out, { recursive: true });
      const scratch = join(work.directory, "compare");
      await mkdir(scratch);
      const foundry = () => locateFoundry(lock, cache.store).directory;
      const unpackInitrd = (archive: Buffer) => initrdUnpacker(foundry(), scratch, lock.epoch, signal)(archive);
      const specPaths = { ...placeOf(paths.spec, out), lock: paths.lock };
      try {
        await build(inputs, specPaths, cache.store, context);
      } catch (error) {
        // The published signature does not fit another boot image: say what is different in it.
        signal.throwIfAborted();
        const findings = await compareParts(inputs, cache.store, directory, manifest, scratch, unpackInitrd, context);
        if (findings.length === 0) throw error;
        const file = only ?? manifest.artifacts[0]!.file;
        return { same: false, directory: out, files: 0, differences: [{ file, findings }], seconds: elapsed() };
      }
      // 3. Compare.
      const comparing = { scratch, unpackInitrd, signal, ...(only === undefined ? {} : { only: [only] }) };
      const differences = await compareOutputs(out, directory, comparing);
      if (options.keep === true && differences.length === 0) await adoptActions(cache.store, store);
      const files = only === undefined ? manifest.artifacts.length + manifest.documents.length : 1;
      return { same: differences.length === 0, directory: out, files, differences, seconds: elapsed() };
    } finally {
      await cache.remove();
    }
  } finally {
    await work.remove();
  }
}

/**
 * The same from the vault itself: nothing is taken from the published output but which targets it has.
 *
 * @throws KubedosError when the output is not of this vault's foundry: all signatures would differ
 */
async function vaultInputs(
  spec: string,
  { directory, manifest }: { directory: string; manifest: Manifest },
  vault: UnlockOptions,
  context: RunContext,
): Promise<BuildInputs> {
  const override = (written: Spec) => asPublished(written, manifest).spec;
  const { build: inputs } = await openProject(spec, { vault, create: false, override }, context);
  const published = await readTrustedKey(join(directory, manifestFiles.publicKey));
  if (published.equals(inputs.signing.publicKey)) return inputs;
  const keys = [inputs.signing.publicKey, published].map(keyFingerprint);
  throw new KubedosError("failed", "this is the vault of another foundry than the one that signed", {
    hint: `its key is ${keys[0]}, and the published one ${keys[1]}: use the vault that belongs to it, or none`,
  });
}

function placeOf(spec: string, out: string): SpecPaths {
  const base = basename(spec, extname(spec));
  const state = `${out}.state`;
  return {
    spec,
    lock: "",
    vault: join(state, `${base}.vault`),
    keyring: join(state, `${base}.keyring`),
    out,
    state,
    runtime: state,
  };
}

/** Root and boot image of a rebuild that could not be signed, against those of the first readable artifact. */
async function compareParts(
  inputs: BuildInputs,
  store: Store,
  directory: string,
  manifest: Manifest,
  scratch: string,
  unpackInitrd: (archive: Buffer) => Promise<Buffer | undefined>,
  context: RunContext,
): Promise<Finding[]> {
  const graph = buildGraph(inputs, store);
  const artifact = manifest.artifacts.find(({ target }) => target === "raw") ?? manifest.artifacts[0]!;
  const published = imageOf(manifest, artifact.target);
  const sealed = graph.others.find(({ kernel }) => kernel === published.kernel) ?? graph;
  const done = await runStages([sealed.root, sealed.uki], store, context).catch(() => undefined);
  if (done === undefined) return [];
  const image = await openArtifact(artifact.target, join(directory, artifact.file), scratch, manifest, context.signal);
  if (image === undefined) return [];
  const root = await openRaw(store.path(done.get(sealed.root)!.outputs["root"]!.sha256));
  const unsigned = await openRaw(store.path(done.get(sealed.uki)!.outputs["unsigned"]!.sha256));
  try {
    const [, partition] = (await verifyGpt(image)).partitions;
    const files = partition === undefined ? [] : await compareErofs(root, within(image, partition));
    const inRoot = files.map(({ path, what }) => ({ structure: `root, ${path}`, message: what }));
    const { uki } = await readBootImage(image, published.manifest);
    return [...inRoot, ...(await compareUkis(await unsigned.read(0, unsigned.sizeBytes), uki, unpackInitrd))];
  } finally {
    for (const one of [image, root, unsigned]) await one.close();
  }
}

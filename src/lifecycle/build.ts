import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { acquire } from "../acquire/acquire.ts";
import { lockSources } from "../acquire/sources.ts";
import { runStages, stageOrder } from "../assemble/engine.ts";
import { openFoundry } from "../assemble/foundry.ts";
import { stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { cacheLimitBytes, type SpecPaths } from "../host/paths.ts";
import { authenticodeMessage } from "../seal/authenticode.ts";
import { checkImages } from "../seal/oci-layout.ts";
import { manifestFiles } from "../seal/manifest.ts";
import type { ActionRecord } from "../store/actions.ts";
import { buildObjects } from "../lock/objects.ts";
import { keepWithinLimit, removeLeftovers } from "../store/gc.ts";
import type { Store } from "../store/store.ts";
import { allSigned, outputDocuments, storedDocuments } from "./documents.ts";
import { buildGraph, type BuildGraph, type BuildInputs } from "./graph.ts";
import { publishFiles } from "./publish.ts";

export interface BuiltArtifact {
  target: string;
  /** Absolute path below the output directory. */
  path: string;
  sizeBytes: number;
  sha256: string;
}

export interface BuildResult {
  artifacts: BuiltArtifact[];
  /** dm-verity root hash, hex. */
  rootHash: string;
  /** Store paths of what substrates boot. */
  image: { path: string; sha256: string };
  root: { path: string; sha256: string };
  firmware: { code: string; vars: string };
  /** Store path of the repository that hubs serve. */
  darksite?: { path: string; sha256: string };
  manifest: string;
  seconds: number;
}

/**
 * Manufactures all targets of a spec from its lock, and publishes them with their signed manifest.
 *
 * @param options `serial`: one stage after the other, where memory is scarce
 */
export async function build(
  inputs: BuildInputs,
  paths: SpecPaths,
  store: Store,
  context: RunContext,
  options: { serial?: boolean } = {},
): Promise<BuildResult> {
  const elapsed = stopwatch();
  const limitBytes = cacheLimitBytes();
  const lease = await store.lease(context.signal);
  try {
    await removeLeftovers(store);
    // 1. Inputs: everything that the lock names, by hash.
    const { lock, spec } = inputs;
    await acquire(buildObjects(lock), () => lockSources(spec, lock, context), store, context);
    await checkImages(lock.images ?? [], store);
    // 2. Tools, from the lock as well.
    await openFoundry(lock, store, context);
    // 3. Stages.
    const graph = buildGraph(inputs, store);
    for (const bytes of graph.blobs.values()) await store.putBytes(bytes);
    if (inputs.signedLater === true) await makeUnsigned(graph, inputs, store, context);
    const parts = [graph, ...graph.others].flatMap(({ root, initrd, uki, esp }) => [root, initrd, uki, esp]);
    const wanted = [...graph.goals, ...parts, ...graph.signatures.map(({ stage }) => stage)];
    if (options.serial === true) for (const stage of stageOrder(wanted)) await runStages([stage], store, context);
    const done = await runStages(wanted, store, context);
    // 4. Artifacts and what is said about them, signed.
    const record = (stage: (typeof wanted)[number]) => done.get(stage)!;
    const artifacts = await publish(graph, record, inputs, paths, store, context);
    const output = (stage: (typeof wanted)[number], name: string) => record(stage).outputs[name]!;
    const located = (stage: (typeof wanted)[number], name: string) => {
      const { sha256 } = output(stage, name);
      return { path: store.path(sha256), sha256 };
    };
    return {
      artifacts,
      rootHash: String(record(graph.root).meta["roothash"]),
      image: located(graph.raw, "image"),
      root: located(graph.root, "root"),
      firmware: { code: located(graph.firmware, "code").path, vars: located(graph.firmware, "vars").path },
      darksite: graph.darksite === undefined ? undefined : located(graph.darksite, "image"),
      manifest: join(paths.out, manifestFiles.manifest),
      seconds: elapsed(),
    };
  } finally {
    await lease.release();
    if (!context.signal.aborted) await keepWithinLimit(store, limitBytes, context);
  }
}

/** Everything but what a signature goes into; then asks for those of the boot images. */
async function makeUnsigned(graph: BuildGraph, inputs: BuildInputs, store: Store, context: RunContext): Promise<void> {
  const images = [graph, ...graph.others];
  const unsigned = [...images.map(({ uki }) => uki), ...(graph.shim === undefined ? [] : [graph.shim.files])];
  const others = [...images.map(({ sbom }) => sbom), graph.firmware];
  const done = await runStages([...unsigned, ...others], store, context);
  const asked = unsigned.map(async (stage) => {
    const image = await readFile(store.path(done.get(stage)!.outputs["unsigned"]!.sha256));
    return inputs.secureBoot.sign(authenticodeMessage(image, inputs.lock.epoch));
  });
  await allSigned(asked);
}

async function publish(
  graph: BuildGraph,
  record: (stage: BuildGraph["raw"]) => ActionRecord,
  inputs: BuildInputs,
  paths: SpecPaths,
  store: Store,
  context: RunContext,
): Promise<BuiltArtifact[]> {
  const { darksite } = graph;
  const repository = darksite === undefined ? [] : [{ name: "darksite", stage: darksite, extension: "darksite.tar" }];
  const artifacts = [...graph.targets, ...repository].map(({ name, stage, extension }): BuiltArtifact => {
    const { sha256, sizeBytes } = record(stage).outputs["image"]!;
    return { target: name, path: join(paths.out, `${inputs.spec.metadata.name}.${extension}`), sizeBytes, sha256 };
  });
  const documents = await outputDocuments(graph, record, inputs, artifacts, store);
  const stored = storedDocuments(graph, record).map(({ file, ...content }) => ({
    path: join(paths.out, file),
    ...content,
  }));
  await publishFiles(paths, [...artifacts, ...stored], documents, store, context.signal);
  for (const artifact of artifacts) context.emit({ type: "artifact", ...artifact });
  return artifacts;
}

import { chmod, copyFile, link, mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { acquire, acquireSources } from "../acquire/acquire.ts";
import { runStages, stageId } from "../assemble/engine.ts";
import { openFoundry } from "../assemble/foundry.ts";
import { stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import type { SpecPaths } from "../host/paths.ts";
import type { ActionRecord } from "../store/actions.ts";
import type { Store } from "../store/store.ts";
import { buildGraph, graphStages, type BuildGraph, type BuildInputs } from "./graph.ts";

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
  manifest: string;
  seconds: number;
}

/** Manufactures all targets of a spec from its lock, and publishes them with their manifest. */
export async function build(
  inputs: BuildInputs,
  paths: SpecPaths,
  store: Store,
  context: RunContext,
): Promise<BuildResult> {
  const elapsed = stopwatch();
  const lease = await store.lease();
  try {
    // 1. Inputs: everything that the lock names, by hash.
    const { lock, spec } = inputs;
    const packages = [...lock.platform, ...lock.foundry];
    await acquire(packages, () => acquireSources(spec.platform.mirror, context.signal), store, context);
    // 2. Tools, from the lock as well.
    await openFoundry(lock, store, context);
    // 3. Stages.
    const graph = buildGraph(inputs, store);
    for (const [sha256, bytes] of graph.blobs) if (!(await store.has(sha256))) await store.putBytes(bytes);
    const wanted = [...graph.goals, graph.root, graph.uki, graph.sign];
    const done = await runStages(wanted, store, context);
    // 4. Artifacts and manifest.
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
      manifest: join(paths.out, "manifest.json"),
      seconds: elapsed(),
    };
  } finally {
    await lease.release();
  }
}

async function publish(
  graph: BuildGraph,
  record: (stage: BuildGraph["raw"]) => ActionRecord,
  inputs: BuildInputs,
  paths: SpecPaths,
  store: Store,
  context: RunContext,
): Promise<BuiltArtifact[]> {
  await mkdir(paths.out, { recursive: true });
  const artifacts: BuiltArtifact[] = [];
  for (const { name, stage, extension } of graph.targets) {
    const { sha256, sizeBytes } = record(stage).outputs["image"]!;
    const path = join(paths.out, `${inputs.spec.metadata.name}.${extension}`);
    await place(store.path(sha256), path);
    artifacts.push({ target: name, path, sizeBytes, sha256 });
    context.emit({ type: "artifact", target: name, path, sizeBytes, sha256 });
  }
  await writeAtomic(join(paths.out, "manifest.json"), manifestText(graph, record, inputs, artifacts));
  return artifacts;
}

/** One object of the store under another name: a hard link where the file system allows, else a copy. Read-only. */
async function place(object: string, path: string): Promise<void> {
  const [source, target] = await Promise.all([stat(object), stat(path).catch(() => undefined)]);
  if (target !== undefined && target.ino === source.ino && target.dev === source.dev) return;
  const temporary = `${path}.new`;
  await rm(temporary, { force: true });
  await link(object, temporary).catch(() => copyFile(object, temporary));
  await chmod(temporary, 0o444);
  await rename(temporary, path);
}

function manifestText(
  graph: BuildGraph,
  record: (stage: BuildGraph["raw"]) => ActionRecord,
  { spec, lock }: BuildInputs,
  artifacts: readonly BuiltArtifact[],
): string {
  const root = record(graph.root);
  const manifest = {
    format: 1,
    cluster: spec.metadata.name,
    epoch: lock.epoch,
    artifacts: artifacts.map(({ target, path, sizeBytes, sha256 }) => ({
      target,
      file: path.slice(path.lastIndexOf("/") + 1),
      sizeBytes,
      sha256,
    })),
    platform: {
      suite: spec.platform.suite,
      features: spec.platform.features,
      rootHash: root.meta["roothash"],
      root: root.outputs["root"],
      verity: root.outputs["verity"],
    },
    boot: {
      unsigned: record(graph.uki).outputs["unsigned"],
      signed: record(graph.sign).outputs["uki"],
    },
    inputs: {
      packages: lock.platform.length,
      foundryPackages: lock.foundry.length,
      stages: Object.fromEntries(graphStages(graph).map((stage) => [stage.name, stageId(stage)])),
    },
  };
  return `${JSON.stringify(manifest, undefined, 2)}\n`;
}

async function writeAtomic(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

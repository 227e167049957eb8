import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { KubedosError } from "../../shared/error.ts";
import { specPaths, type SpecPaths } from "../host/paths.ts";
import { loadSpec } from "../spec/load.ts";
import type { Spec } from "../spec/types.ts";
import { nearest } from "../spec/suggest.ts";
import { substrates } from "../substrates/registry.ts";
import type { Lab, Substrate } from "../substrates/types.ts";
import { readRun } from "./run-state.ts";

/** A cluster that `up` has placed, opened without its vault. */
export interface RunningCluster {
  spec: Spec;
  paths: SpecPaths;
  layer: ClusterLayer;
  lab: Lab;
  substrate: Substrate;
  rootHash: string;
}

/** @throws KubedosError when the spec has no machines here */
export async function openRunning(specFile: string): Promise<RunningCluster> {
  const paths = specPaths(specFile);
  const spec = await loadSpec(specFile);
  const run = await readRun(paths);
  if (run === undefined) {
    throw new KubedosError("failed", `${spec.metadata.name} is not up`, { hint: `kubedos up ${specFile}` });
  }
  const layer = JSON.parse(await readFile(join(run.artifacts.layer, "cluster.json"), "utf8")) as ClusterLayer;
  const lab = { spec, paths, artifacts: run.artifacts };
  return { spec, paths, layer, lab, substrate: substrates[run.substrate], rootHash: run.rootHash };
}

/** @throws KubedosError with the nearest name when the cluster has no such node */
export function requireNode(cluster: Pick<RunningCluster, "spec">, node: string): void {
  const names = cluster.spec.nodes.map(({ name }) => name);
  if (names.includes(node)) return;
  const near = nearest(node, names);
  throw new KubedosError("usage", `there is no node "${node}" in ${cluster.spec.metadata.name}`, {
    hint: near === undefined ? `nodes: ${names.join(", ")}` : `did you mean ${near}?`,
  });
}

import { layerFormat, type ClusterLayer, type LayerNode } from "../../shared/cluster-layer.ts";
import { KubedosError } from "../../shared/error.ts";
import { findNode } from "../../shared/render/peers.ts";
import { seedCredentials } from "../../shared/seed.ts";
import { readCredential } from "./credentials.ts";
import type { NodePaths } from "./paths.ts";
import { readText } from "./text.ts";

/** Who this node is: its place in the cluster layer. */
export interface Identity {
  layer: ClusterLayer;
  node: LayerNode;
  /** Whether the node is a container (nspawn): unsealed, and perhaps on a kernel without WireGuard. */
  container: boolean;
}

/**
 * Reads the cluster layer and this node's name.
 *
 * @throws KubedosError when one of them is missing, damaged, of another format, or they do not fit together
 */
export function readIdentity(paths: NodePaths, environment: NodeJS.ProcessEnv): Identity {
  const layer = parseLayer(readText(paths.clusterJson), paths.clusterJson);
  const node = findNode(layer, nodeName(paths, environment));
  return { layer, node, container: readText(paths.at("/run/systemd/container")) !== undefined };
}

/** The node's name from its seed. Given by systemd as a credential: systemd.exec(5), "Credentials". */
export function nodeName(paths: NodePaths, environment: NodeJS.ProcessEnv): string {
  const name = readCredential(paths, environment, seedCredentials.node);
  if (name !== undefined) {
    if (/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name)) return name;
    throw new KubedosError("failed", `credential ${seedCredentials.node} is not a node name: ${JSON.stringify(name)}`);
  }
  throw new KubedosError("failed", `credential ${seedCredentials.node} is missing`, {
    hint: "the node was started without its seed",
  });
}

function parseLayer(text: string | undefined, path: string): ClusterLayer {
  if (text === undefined) throw new KubedosError("failed", `the cluster layer is missing: ${path}`);
  let layer: Partial<ClusterLayer> | null;
  try {
    layer = JSON.parse(text) as Partial<ClusterLayer> | null;
  } catch (cause) {
    throw new KubedosError("failed", `the cluster layer is not JSON: ${path}`, { cause });
  }
  if (layer === null || typeof layer !== "object" || layer.format !== layerFormat) {
    throw new KubedosError("failed", `${path} has the format ${layer?.format}; this agent reads ${layerFormat}`);
  }
  const lists = ["planes", "nodes", "operators", "openings", "features"] as const;
  const damaged = lists.filter((name) => !Array.isArray(layer[name]));
  if (damaged.length > 0 || typeof layer.cluster !== "string" || typeof layer.underlay !== "object") {
    throw new KubedosError("failed", `the cluster layer is damaged (${damaged.join(", ")}): ${path}`);
  }
  return layer as ClusterLayer;
}

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { exampleLayer } from "../../shared/render/testing.ts";

const projectRoot = join(import.meta.dirname, "../..");

/** Makes the bundle as it goes into the image and hands back its path. For tests. */
export function bundledAgent(): string {
  execFileSync(process.execPath, ["scripts/bundle-agent.mjs"], { cwd: projectRoot });
  return join(projectRoot, "dist/agent.cjs");
}

/** A directory with what a booted node has under /run before the agent starts. For tests. */
export interface NodeRoot {
  root: string;
  layer: ClusterLayer;
  write(path: string, content: string | Uint8Array): void;
}

export function makeNodeRoot(nodeName: string, nodes = 3): NodeRoot {
  const root = mkdtempSync(join(tmpdir(), "kubedos-node-"));
  const layer = { ...exampleLayer({ nodes }), features: ["agent", "base", "node-metrics", "time"] };
  function write(path: string, content: string | Uint8Array): void {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  write("/run/kubedos/layer/cluster.json", JSON.stringify(layer));
  write("/run/credentials/@system/kubedos.node", nodeName);
  return { root, layer, write };
}

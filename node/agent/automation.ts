import { randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import type { ClusterLayer, LayerNode } from "../../shared/cluster-layer.ts";
import { automationPaths } from "../../shared/convergence.ts";
import type { Emit, EventBody } from "../../shared/events.ts";
import { ansibleFiles, automationKeys } from "../../shared/render/inventory.ts";
import { isHub } from "../../shared/render/peers.ts";
import type { RenderedFile } from "../../shared/render/render.ts";
import { followLines } from "./follow.ts";
import type { NodePaths } from "./paths.ts";
import { sleep } from "./text.ts";

const pollMs = 300;

/** What Ansible needs on a node: the hubs' keys, and on a hub the inventory and the nodes' host keys. Pure. */
export function renderAutomation(layer: ClusterLayer, node: LayerNode): RenderedFile[] {
  if (!layer.features.includes("ansible")) return [];
  const keys = { path: automationPaths.authorizedKeys, mode: 0o644, content: automationKeys(layer) };
  return [keys, ...(isHub(node) ? ansibleFiles(layer) : [])];
}

/** Names this boot of the node, once: what was converged on another boot is gone with its memory. */
export function markInstance(paths: NodePaths): void {
  try {
    writeFileSync(paths.at(automationPaths.instance), `${randomUUID()}\n`, { flag: "wx", mode: 0o644 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/** Passes on what the convergence on this hub says, line by line as it is written. Does not end. */
export async function relayConvergence(paths: NodePaths, emit: Emit): Promise<void> {
  const follower = followLines(paths.at(`${automationPaths.run}/events.jsonl`), (line) => relay(line, emit));
  for (;;) {
    follower.poll();
    await sleep(pollMs);
  }
}

function relay(line: string, emit: Emit): void {
  let event: EventBody;
  try {
    event = JSON.parse(line) as EventBody;
  } catch {
    return; // half a line of an engine that was killed
  }
  if (typeof event.type === "string" && event.type.startsWith("converge.")) emit(event);
}

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { replacePrivateFile } from "../host/private-file.ts";
import type { Project } from "./project.ts";
import { nodeSeed } from "./up-project.ts";

/** A seed that was written. */
export interface SeedFile {
  node: string;
  path: string;
  generation: number;
}

/** Writes nodes' seeds to `DIR/NODE.seed`, readable for their owner only. A file that is there is replaced in one step. */
export async function writeSeeds(project: Project, nodes: readonly string[], directory: string): Promise<SeedFile[]> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const written: SeedFile[] = [];
  for (const node of nodes) {
    const path = join(directory, `${node}.seed`);
    const { disk } = await nodeSeed(project, node);
    await replacePrivateFile(path, disk);
    const { generation } = project.spec.nodes.find(({ name }) => name === node)!;
    written.push({ node, path, generation });
  }
  return written;
}

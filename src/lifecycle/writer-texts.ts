import { readProjectFile } from "../host/project.ts";
import type { BuildInputs } from "./graph.ts";

/** The parts of node/writer/ that an installation medium starts. */
export async function writerTexts(): Promise<BuildInputs["writer"]> {
  const read = (name: string) => readProjectFile(`node/writer/${name}`);
  const scripts = ["medium", "network", "bundle", "disk", "seeds", "write"].map(async (path) => ({
    path,
    content: await read(path),
  }));
  return { init: await read("init"), scripts: await Promise.all(scripts) };
}

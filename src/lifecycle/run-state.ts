import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { SpecPaths } from "../host/paths.ts";
import type { SubstrateName } from "../spec/types.ts";
import type { LabArtifacts } from "../substrates/types.ts";

/** What the last `up` placed: enough for `status`, `ssh`, `console` and `down` to work without building. */
export interface RunState {
  spec: string;
  substrate: SubstrateName;
  /** dm-verity root hash, hex. */
  rootHash: string;
  artifacts: LabArtifacts;
}

export async function writeRun(paths: SpecPaths, state: RunState): Promise<void> {
  await mkdir(paths.state, { recursive: true });
  const file = join(paths.state, "run.json");
  await writeFile(`${file}.new`, `${JSON.stringify(state, undefined, 2)}\n`);
  await rename(`${file}.new`, file);
}

/** The last run, or undefined when there is none (or `down` removed it). */
export async function readRun(paths: SpecPaths): Promise<RunState | undefined> {
  const text = await readFile(join(paths.state, "run.json"), "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as RunState);
}

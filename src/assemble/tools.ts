import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { projectRoot } from "../host/project.ts";
import { runInSandbox, scriptsDirectory } from "../host/sandbox.ts";
import type { StageWork } from "./engine.ts";
import type { Foundry } from "./foundry.ts";

/** What every stage that runs a script in the foundry root shares. */
export interface Tools {
  foundry: Foundry;
  /** Fixed clock, seconds since 1970. */
  epoch: number;
}

/** Version of a stage that runs these scripts: other tools or other text give other bytes. */
export function scriptVersion(tools: Pick<Tools, "foundry">, ...scripts: string[]): string {
  const hash = createHash("sha256").update(tools.foundry.id);
  hash.update(readFileSync(join(projectRoot(), "src/host/sandbox.sh")));
  for (const script of scripts) hash.update(readFileSync(join(projectRoot(), scriptsDirectory, script)));
  return hash.digest("hex");
}

/**
 * Runs a script of the stage in the sandbox with the stage's inputs. Lines `name value` of its output become the
 * result's values.
 *
 * @throws KubedosError when an extra input has the name of one of the stage's
 */
export async function runScript(
  tools: Tools,
  work: StageWork,
  script: string,
  args: readonly string[] = [],
  extra: { stdin?: string; env?: Record<string, string>; inputs?: Record<string, string> } = {},
): Promise<Record<string, string>> {
  const clash = Object.keys(extra.inputs ?? {}).find((name) => name in work.inputs);
  if (clash !== undefined) throw new KubedosError("failed", `${script}: two inputs are called ${clash}`);
  const environment = Object.entries(extra.env ?? {}).map(([name, value]) => `${name}=${value}`);
  const result = await runInSandbox({
    root: tools.foundry.directory,
    command: ["env", ...environment, "sh", `/scripts/${script}`, ...args],
    inputs: { ...work.inputs, ...extra.inputs },
    out: work.out,
    epoch: tools.epoch,
    stdin: extra.stdin,
    signal: work.signal,
  });
  const values: Record<string, string> = {};
  for (const line of result.stdout.split("\n")) {
    const [, name, value] = /^(\w+) (\S+)$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) values[name] = value;
  }
  return values;
}

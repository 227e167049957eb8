import type { NodePaths } from "./paths.ts";
import { readText } from "./text.ts";

/** A credential of the seed, trimmed; undefined where there is none. systemd.exec(5), "Credentials". */
export function readCredential(paths: NodePaths, environment: NodeJS.ProcessEnv, name: string): string | undefined {
  for (const directory of [environment["CREDENTIALS_DIRECTORY"], paths.at("/run/credentials/@system")]) {
    const value = directory === undefined ? undefined : readText(`${directory}/${name}`);
    if (value !== undefined) return value;
  }
  return undefined;
}

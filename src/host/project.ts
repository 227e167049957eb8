import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Root of the project's tree, where package.json is: the same from src/ and from the bundle in dist/. */
export function projectRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, "package.json"))) directory = dirname(directory);
  return directory;
}

/** Text of a file of the project, by its path from the root. */
export function readProjectFile(path: string): Promise<string> {
  return readFile(join(projectRoot(), path), "utf8");
}

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Root of the project's tree, where package.json is: the same from src/ and from the bundle in dist/. */
export function projectRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, "package.json"))) directory = dirname(directory);
  return directory;
}

/** Reads the project's own files that go into an image: a function from path to text, with a list of a folder's files. */
export function projectAssets(): ((path: string) => string) & { list(folder: string): string[] } {
  const root = projectRoot();
  return Object.assign((path: string) => readFileSync(join(root, path), "utf8"), {
    list: (folder: string) =>
      readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
        .toSorted(),
  });
}

/** Text of a file of the project, by its path from the root. */
export function readProjectFile(path: string): Promise<string> {
  return readFile(join(projectRoot(), path), "utf8");
}

import { existsSync, writeSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { darksitePaths, repositoryPort } from "../../shared/repository.ts";
import { openArchive } from "./archive.ts";

const waitSeconds = 60;

/**
 * Serves the cluster's own apt repository on one address of this hub until it is stopped. The disk may appear some time
 * after the start.
 *
 * @throws when there is no disk after a minute, or it holds no archive
 */
export async function serveRepository(address: string): Promise<void> {
  const { serveArchive } = await import("./serve.ts");
  for (let waited = 0; waited <= waitSeconds; waited++) {
    const file = darksitePaths.find((path) => existsSync(path));
    if (file !== undefined) {
      const archive = await openArchive(file);
      await serveArchive(archive, address, repositoryPort);
      writeSync(1, `serving ${archive.members.size} files of ${file} on ${address}:${repositoryPort}\n`);
      return;
    }
    await delay(1000);
  }
  throw new Error(`this hub has no repository: none of ${darksitePaths.join(", ")} is there`);
}

import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { environmentValue } from "./environment.ts";

/** Text of the user's netrc file (`NETRC`, else ~/.netrc), or undefined. It holds passwords. */
export function readNetrc(): Promise<string | undefined> {
  return readText(environmentValue("NETRC") ?? join(homedir(), ".netrc"));
}

/**
 * Texts of the files in which container tools keep registry credentials, the most particular first:
 * containers-auth.json(5), then Docker's config.json.
 */
export async function readRegistryAuth(): Promise<{ file: string; text: string }[]> {
  const home = homedir();
  const runtime = environmentValue("XDG_RUNTIME_DIR");
  const config = environmentValue("XDG_CONFIG_HOME") ?? join(home, ".config");
  const own = environmentValue("REGISTRY_AUTH_FILE");
  const files = [
    ...(own === undefined ? [] : [own]),
    ...(runtime === undefined ? [] : [join(runtime, "containers/auth.json")]),
    join(config, "containers/auth.json"),
    join(environmentValue("DOCKER_CONFIG") ?? join(home, ".docker"), "config.json"),
  ];
  const texts = await Promise.all(files.map(async (file) => ({ file, text: await readText(file) })));
  return texts.flatMap(({ file, text }) => (text === undefined ? [] : [{ file, text }]));
}

async function readText(file: string): Promise<string | undefined> {
  return readFile(file, "utf8").catch(() => undefined);
}

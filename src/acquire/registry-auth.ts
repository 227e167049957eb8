import { KubedosError } from "../../shared/error.ts";
import { run } from "../host/run.ts";
import { findTool } from "../host/tools.ts";
import { readRegistryAuth } from "../host/user-files.ts";

export interface RegistryCredentials {
  user: string;
  password: string;
}

interface AuthFile {
  auths?: Record<string, { auth?: string; username?: string; password?: string } | undefined>;
  credHelpers?: Record<string, string>;
  credsStore?: string;
}

/**
 * Credentials for a repository from the files of podman and docker, the first file that has some; credential helpers
 * are asked. See containers-auth.json(5).
 */
export async function registryCredentials(
  registry: string,
  repository: string,
): Promise<RegistryCredentials | undefined> {
  for (const { file, text } of await readRegistryAuth()) {
    let content: AuthFile;
    try {
      content = JSON.parse(text) as AuthFile;
    } catch (cause) {
      throw new KubedosError("failed", `${file} is not JSON: ${(cause as Error).message}`, {
        hint: "repair it, or log in to the registry again",
        cause,
      });
    }
    const helper = content.credHelpers?.[registry] ?? content.credsStore;
    const found =
      findAuth(content, registry, repository) ?? (helper === undefined ? undefined : await askHelper(helper, registry));
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The most particular key wins: `registry/name/space/repository`, then its parents, then the registry's own. */
export function findAuth(content: AuthFile, registry: string, repository: string): RegistryCredentials | undefined {
  const keys = [registry];
  for (const part of repository.split("/")) keys.unshift(`${keys[0]}/${part}`);
  // What docker has written since its first version.
  if (registry === "docker.io") keys.push("https://index.docker.io/v1/", "index.docker.io");
  keys.push(`https://${registry}`, `http://${registry}`);
  for (const key of keys) {
    const entry = content.auths?.[key];
    if (entry?.username !== undefined && entry.password !== undefined) {
      return { user: entry.username, password: entry.password };
    }
    const text = entry?.auth === undefined ? "" : Buffer.from(entry.auth, "base64").toString("utf8");
    const colon = text.indexOf(":");
    if (colon > 0) return { user: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, "") };
  }
  return undefined;
}

/** https://github.com/docker/docker-credential-helpers: the server's name goes in, JSON comes out. */
async function askHelper(helper: string, registry: string): Promise<RegistryCredentials | undefined> {
  const tool = `docker-credential-${helper}`;
  if (!/^[\w.-]+$/.test(helper) || (await findTool(tool)) === undefined) return undefined;
  const server = registry === "docker.io" ? "https://index.docker.io/v1/" : registry;
  const { status, stdout } = await run(tool, ["get"], { input: server, okStatuses: [0, 1], timeoutMs: 30_000 });
  if (status !== 0) return undefined;
  const { Username: user, Secret: password } = JSON.parse(stdout) as { Username?: string; Secret?: string };
  return user === undefined || password === undefined || user === "<token>" ? undefined : { user, password };
}

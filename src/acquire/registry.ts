import { createHash } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import { createHttpClient, safeUrl, type HttpClient } from "../host/http.ts";
import type { ImageReference } from "../spec/image-reference.ts";
import { registryCredentials, type RegistryCredentials } from "./registry-auth.ts";
import type { Place } from "./places.ts";
import { webSettings } from "./web.ts";

/** One registry over its HTTP API. https://github.com/opencontainers/distribution-spec */
export interface Registry {
  /** A manifest by tag or digest, its bytes checked against the digest that was asked for or announced. */
  manifest(image: ImageReference, which: string, signal: AbortSignal): Promise<RegistryManifest>;
  /** Where a manifest or blob of a repository is fetched from, with what the registry wants to see. */
  place(image: ImageReference, kind: "manifests" | "blobs", sha256: string, signal: AbortSignal): Promise<Place>;
}

export interface RegistryManifest {
  mediaType: string;
  bytes: Buffer;
  /** Of `bytes`, hex. */
  sha256: string;
}

const stallMs = 30_000;
const maxManifestBytes = 4 * 1024 * 1024;
const accepted = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");

/** Opens registries; tokens are kept while it is used. */
export async function openRegistry(plainHttp: (registry: string) => boolean): Promise<Registry> {
  // No netrc: a registry's credentials are in its own files.
  const settings = { ...(await webSettings()), credentialsFor: () => undefined };
  const client = createHttpClient(settings, 8);
  const authorizations = new Map<string, Promise<Record<string, string>>>();

  function baseUrl(registry: string): string {
    const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
    return `${isLoopback(registry) || plainHttp(registry) ? "http" : "https"}://${host}`;
  }

  /** Headers for one repository; found by asking for something there and reading the refusal. */
  function authorize(image: ImageReference, signal: AbortSignal): Promise<Record<string, string>> {
    const { registry, repository } = image;
    const key = `${registry}/${repository}`;
    const known = authorizations.get(key) ?? challenge(client, baseUrl(registry), image, signal);
    authorizations.set(key, known);
    return known;
  }

  return {
    async manifest(image, which, signal) {
      const { registry, repository } = image;
      const url = new URL(`${baseUrl(registry)}/v2/${repository}/manifests/${which}`);
      const headers = { ...(await authorize(image, signal)), accept: accepted };
      const answer = await client.get(url, { headers, stallMs, signal });
      const bytes = await readAll(answer.body, safeUrl(url));
      if (answer.status !== 200) throw statusError(`${registry}/${repository}`, which, answer.status);
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      const announced = answer.headers["docker-content-digest"]?.toString();
      const expected = which.startsWith("sha256:") ? which : announced;
      if (expected !== undefined && expected !== `sha256:${sha256}`) {
        throw new KubedosError(
          "failed",
          `${registry} answers for ${repository} ${which} with a manifest of digest sha256:${sha256}, not ${expected}`,
          { hint: "the registry or something on the way alters images: do not use it; find out who altered it" },
        );
      }
      const mediaType = mediaTypeOf(bytes, answer.headers["content-type"] ?? "");
      return { mediaType, bytes, sha256 };
    },
    async place(image, kind, sha256, signal) {
      const { registry, repository } = image;
      const headers = await authorize(image, signal);
      return {
        base: `${baseUrl(registry)}/v2/${repository}`,
        url: new URL(`${baseUrl(registry)}/v2/${repository}/${kind}/sha256:${sha256}`),
        client,
        headers: kind === "manifests" ? { ...headers, accept: accepted } : headers,
      };
    },
  };
}

/** Whether a registry is on this host: there plain http harms nobody. */
export function isLoopback(registry: string): boolean {
  const host = registry.replace(/:\d+$/, "");
  return host === "localhost" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** `Bearer realm="…",service="…"` as scheme and parameters (RFC 9110, 11.6.1). */
export function parseChallenge(header: string): { scheme: string; parameters: Record<string, string> } {
  const [, scheme = "", rest = ""] = /^\s*(\S+)\s*(.*)$/s.exec(header) ?? [];
  const parameters: Record<string, string> = {};
  for (const [, name, quoted, plain] of rest.matchAll(/([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))/g)) {
    parameters[name!.toLowerCase()] = quoted?.replaceAll(/\\(.)/g, "$1") ?? plain!;
  }
  return { scheme: scheme.toLowerCase(), parameters };
}

async function challenge(
  client: HttpClient,
  base: string,
  image: ImageReference,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  const { registry, repository } = image;
  const url = new URL(`${base}/v2/${repository}/manifests/${image.digest ?? image.tag ?? "latest"}`);
  const answer = await client.get(url, { headers: { accept: accepted }, stallMs, signal });
  answer.body.destroy();
  if (answer.status !== 401) return {};
  const { scheme, parameters } = parseChallenge(answer.headers["www-authenticate"] ?? "");
  const credentials = await registryCredentials(registry, repository);
  if (scheme === "basic" && credentials !== undefined) return { authorization: basic(credentials) };
  if (scheme === "bearer" && parameters["realm"] !== undefined) {
    const token = await fetchToken(client, parameters, repository, credentials, signal);
    if (token !== undefined) return { authorization: `Bearer ${token}` };
  }
  throw new KubedosError("failed", `${registry} wants credentials for ${repository}`, {
    hint: `log in with \`podman login ${registry}\` or \`docker login ${registry}\`: kubedos reads their files`,
  });
}

/** https://distribution.github.io/distribution/spec/auth/token/ */
async function fetchToken(
  client: HttpClient,
  parameters: Record<string, string>,
  repository: string,
  credentials: RegistryCredentials | undefined,
  signal: AbortSignal,
): Promise<string | undefined> {
  const url = new URL(parameters["realm"]!);
  if (parameters["service"] !== undefined) url.searchParams.set("service", parameters["service"]);
  url.searchParams.set("scope", parameters["scope"] ?? `repository:${repository}:pull`);
  const headers: Record<string, string> = credentials === undefined ? {} : { authorization: basic(credentials) };
  const answer = await client.get(url, { headers, stallMs, signal });
  const text = (await readAll(answer.body, safeUrl(url))).toString("utf8");
  if (answer.status !== 200) return undefined;
  try {
    const { token, access_token: other } = JSON.parse(text) as { token?: string; access_token?: string };
    return token ?? other;
  } catch {
    return undefined;
  }
}

async function readAll(body: AsyncIterable<Buffer> & { destroy(): unknown }, place: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > maxManifestBytes) {
      body.destroy();
      throw new KubedosError("failed", `${place}: longer than ${maxManifestBytes} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function mediaTypeOf(bytes: Buffer, header: string): string {
  try {
    const { mediaType } = JSON.parse(bytes.toString("utf8")) as { mediaType?: unknown };
    if (typeof mediaType === "string") return mediaType;
  } catch {
    // not JSON: the caller says so
  }
  return header.split(";")[0]!.trim();
}

function statusError(name: string, which: string, status: number): KubedosError {
  const missing = status === 404;
  return new KubedosError(
    "failed",
    missing ? `the registry has no ${name} ${which}` : `the registry answered ${status} for ${name} ${which}`,
    {
      hint: missing
        ? "correct the reference in platform.images"
        : "check the credentials and the network, and try again",
    },
  );
}

function basic({ user, password }: RegistryCredentials): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
}

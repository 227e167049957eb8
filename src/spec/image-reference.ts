/** The parts of an image's name. https://github.com/opencontainers/distribution-spec */
export interface ImageReference {
  /** Registry as written, with its port: `registry.k8s.io`, `docker.io`, `localhost:5000`. */
  registry: string;
  repository: string;
  /** `sha256:…` where the digest is given; then the tag does not count. */
  digest?: string;
  tag?: string;
}

const registryPattern = /^(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9a-f:]+\])(?::\d{1,5})?$/;
const partPattern = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/;

/** The parts of a reference, short names as Docker reads them; undefined when it is not one. */
export function parseReference(text: string): ImageReference | undefined {
  const [, path, tag, digest] = /^([^@]+?)(?::([\w][\w.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$/.exec(text) ?? [];
  if (path === undefined) return undefined;
  const [first = "", ...rest] = path.split("/");
  const named = rest.length > 0 && (/[.:]/.test(first) || first === "localhost");
  const registry = named ? first : "docker.io";
  const parts = named ? rest : [first, ...rest];
  if (registry === "docker.io" && parts.length === 1) parts.unshift("library");
  if (!registryPattern.test(registry) || parts.length === 0 || !parts.every((part) => partPattern.test(part))) {
    return undefined;
  }
  return { registry, repository: parts.join("/"), tag, digest };
}

/** The one way in which a reference is written in a lock; undefined when it is none, or names no tag and no digest. */
export function normaliseReference(text: string): string | undefined {
  const parsed = parseReference(text);
  if (parsed === undefined) return undefined;
  const { registry, repository, tag, digest } = parsed;
  if (digest !== undefined) return `${registry}/${repository}@${digest}`;
  return tag === undefined ? undefined : `${registry}/${repository}:${tag}`;
}

/** Name of a file in a lock: the last part of its URL. */
export function blobName(url: string): string {
  if (!URL.canParse(url)) return url;
  const last = new URL(url).pathname.split("/").at(-1) ?? "";
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}

/** Archives that a lock's paths are relative to. */
export const debianArchives = ["debian", "debian-security"] as const;
export type ArchiveName = (typeof debianArchives)[number];

/** Base URLs per archive, in the order in which they are tried. No trailing slash. */
export type Mirrors = Record<string, string[]>;

/**
 * Base URLs per archive: the spec's list if it has one, else the host's own.
 *
 * An entry of the spec's list is, in this order of checks:
 * - a URL with `{archive}`: the archive's name is put in its place;
 * - a URL with the path segment `debian-security`: a mirror of that archive only;
 * - a URL with the path segment `debian`: that archive, and `debian-security` in the segment's place
 *   (also `…/archive/debian/20260101T000000Z` of snapshot.debian.org);
 * - anything else: a directory in which the archives lie, `<url>/debian` and `<url>/debian-security`.
 */
export function resolveMirrors(listed: readonly string[], host: Record<ArchiveName, readonly string[]>): Mirrors {
  const mirrors: Mirrors = {};
  for (const archive of debianArchives) {
    const bases = listed.length > 0 ? listed.map((entry) => baseOf(entry, archive)) : hostBases(host, archive);
    mirrors[archive] = [...new Set(bases.filter((base) => base !== undefined))];
  }
  return mirrors;
}

function baseOf(entry: string, archive: ArchiveName): string | undefined {
  // A path stands for a file: URL, and apt itself prints those with one slash.
  const url = entry.replace(/\/+$/, "").replace(/^(file:)?\/+/, "file:/");
  if (url.includes("{archive}")) return url.replaceAll("{archive}", archive);
  const segments = url.split("/");
  const start = url.includes("://") ? 3 : 1; // not in the host part
  if (segments.includes("debian-security", start)) return archive === "debian-security" ? url : undefined;
  const at = segments.lastIndexOf("debian");
  if (at < start) return `${url}/${archive}`;
  return segments.with(at, archive).join("/");
}

/** A host may have no security source (a fresh Ubuntu, a minimal container): look beside its Debian mirror. */
function hostBases(host: Record<ArchiveName, readonly string[]>, archive: ArchiveName): (string | undefined)[] {
  if (host[archive].length > 0 || archive === "debian") return [...host[archive]];
  return host.debian.map((base) => baseOf(base, archive));
}

/** URL of a file below a base URL. Pool paths are kept decoded in a lock, and encoded as apt does in a URL. */
export function fileUrl(base: string, path: string): string {
  return `${base}/${path
    .split("/")
    .map((segment) => encodeURIComponent(segment))
    .join("/")}`;
}

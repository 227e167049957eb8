import { createHash } from "node:crypto";
import { dirname } from "node:path";
import { certificateName, component, indexDirectory, repositoryOrigin } from "./names.ts";
import type { ArchiveSigner } from "./signer.ts";

/** What a Release file says; see https://wiki.debian.org/DebianRepository/Format and apt-secure(8). */
export interface ReleaseFields {
  suite: string;
  /** Shown by `apt-cache policy`. */
  label: string;
  /** When the indexes were frozen, seconds since 1970. There is no Valid-Until: a frozen archive does not age. */
  date: number;
}

/** A file of a repository by its path from the repository's root. */
export interface RepositoryFile {
  path: string;
  content: Uint8Array;
}

/** The certificate, in the repository's root. */
export function certificateFile(signer: ArchiveSigner): RepositoryFile {
  return { path: certificateName, content: Buffer.from(signer.certificate) };
}

/**
 * Everything below `dists/<suite>`: the indexes, the same by hash, Release and its two kinds of signature. Pure and
 * deterministic.
 *
 * @param indexes content by name, e.g. `Packages`, in `main/binary-amd64/`; a name with slashes is a path from the suite's folder
 */
export function suiteFiles(
  fields: ReleaseFields,
  indexes: Readonly<Record<string, Uint8Array>>,
  signer: ArchiveSigner,
): RepositoryFile[] {
  const root = `dists/${fields.suite}`;
  const names = Object.keys(indexes).toSorted();
  const listed = names.map((name) => {
    const content = indexes[name]!;
    const path = name.includes("/") ? name : `${indexDirectory}/${name}`;
    return { path, content, sha256: createHash("sha256").update(content).digest("hex") };
  });
  const release = releaseText(fields, listed);
  return [
    ...listed.map(({ path, content }) => ({ path: `${root}/${path}`, content })),
    ...listed.map(({ path, sha256, content }) => ({
      path: `${root}/${dirname(path)}/by-hash/SHA256/${sha256}`,
      content,
    })),
    { path: `${root}/Release`, content: Buffer.from(release) },
    { path: `${root}/InRelease`, content: Buffer.from(signer.clearsign(release, fields.date)) },
    { path: `${root}/Release.gpg`, content: Buffer.from(signer.sign(release, fields.date)) },
  ];
}

function releaseText(
  { suite, label, date }: ReleaseFields,
  files: readonly { path: string; content: Uint8Array; sha256: string }[],
): string {
  const lines = files.map(({ path, content, sha256 }) => ` ${sha256} ${content.length} ${path}\n`);
  return [
    `Origin: ${repositoryOrigin}\n`,
    `Label: ${label}\n`,
    `Suite: ${suite}\n`,
    `Codename: ${suite}\n`,
    `Date: ${releaseDate(date)}\n`,
    "Architectures: amd64\n",
    `Components: ${component}\n`,
    // The packages of the architecture "all" are in the index of amd64.
    "No-Support-for-Architecture-all: Packages\n",
    "Acquire-By-Hash: yes\n",
    "Description: packages of a kubedos lock, frozen\n",
    "SHA256:\n",
    ...lines,
  ].join("");
}

/** As Debian writes it: `Sat, 15 Nov 2025 09:46:02 UTC`. */
function releaseDate(seconds: number): string {
  return new Date(seconds * 1000).toUTCString().replace("GMT", "UTC");
}

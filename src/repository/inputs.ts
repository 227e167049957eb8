import { createHash } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import type { LockedDescriptor, LockedImage } from "../lock/inputs.ts";
import type { Lock } from "../lock/types.ts";
import { ociIndex, ociLayoutFile } from "../seal/oci-layout.ts";
import { inputFolders, sumsName, sumsSignatureName } from "./names.ts";
import type { RepositoryFile } from "./release.ts";
import type { ArchiveSigner } from "./signer.ts";

/** A file of a repository that is an object of the store. */
export interface ObjectFile {
  path: string;
  sha256: string;
  sizeBytes: number;
}

/** What of a lock is in a repository beside Debian's packages. */
export interface InputFiles {
  /** Index pages, the layout's own files, and the signed list of everything here. */
  files: RepositoryFile[];
  objects: ObjectFile[];
}

/**
 * Where a lock's Python distributions, files and images lie in a repository; nothing where it has none. Pure.
 *
 *   python/simple/NAME/index.html   index for pip, https://peps.python.org/pep-0503/
 *   python/files/FILENAME
 *   files/NAME
 *   images/                         OCI layout
 *   SHA256SUMS, SHA256SUMS.asc      all of these, and the archive key's signature over the list
 *
 * @param date of the signature, seconds since 1970
 * @throws KubedosError code "spec" when two different contents would have one path
 */
export function inputFiles(
  { wheels = [], blobs = [], images = [] }: Pick<Lock, "wheels" | "blobs" | "images">,
  signer: ArchiveSigner,
  date: number,
): InputFiles {
  if (wheels.length + blobs.length + images.length === 0) return { files: [], objects: [] };
  const objects = distinct([
    ...wheels.map(({ filename, ...content }) => objectFile(`${inputFolders.python}/files/${filename}`, content)),
    ...blobs.map(({ name, ...content }) => objectFile(`${inputFolders.files}/${name}`, content)),
    ...images.flatMap(imageParts),
  ]);
  const files = [...(wheels.length === 0 ? [] : simpleIndex(wheels)), ...(images.length === 0 ? [] : layout(images))];
  const listed = [
    ...objects,
    ...files.map(({ path, content }) => ({ path, sha256: createHash("sha256").update(content).digest("hex") })),
  ].toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const sums = listed.map(({ path, sha256 }) => `${sha256}  ${path}\n`).join("");
  return {
    files: [
      ...files,
      { path: sumsName, content: Buffer.from(sums) },
      { path: sumsSignatureName, content: Buffer.from(signer.sign(sums, date)) },
    ],
    objects,
  };
}

function objectFile(path: string, { sha256, sizeBytes }: Pick<ObjectFile, "sha256" | "sizeBytes">): ObjectFile {
  return { path, sha256, sizeBytes };
}

/** Each path once, sorted. The same wheel may be locked for several prefixes. */
function distinct(objects: readonly ObjectFile[]): ObjectFile[] {
  const found = new Map<string, ObjectFile>();
  for (const object of objects) {
    const before = found.get(object.path);
    if (before !== undefined && before.sha256 !== object.sha256) {
      throw new KubedosError("spec", `two different contents want the place ${object.path} in the repository`, {
        hint: "make the lock anew with `kubedos lock --update`",
      });
    }
    found.set(object.path, object);
  }
  return [...found.values()].toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

/** Pages for pip: names, and below each the files with their hashes. */
function simpleIndex(wheels: NonNullable<Lock["wheels"]>): RepositoryFile[] {
  const root = `${inputFolders.python}/simple`;
  const names = [...new Set(wheels.map(({ name }) => name))].toSorted();
  const pages = names.map((name) => {
    const own = new Map(wheels.filter((wheel) => wheel.name === name).map((wheel) => [wheel.filename, wheel.sha256]));
    const links = [...own]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([filename, sha256]) => {
        return { text: filename, href: `../../files/${encodeURIComponent(filename)}#sha256=${sha256}` };
      });
    return { path: `${root}/${name}/index.html`, content: page(name, links) };
  });
  return [
    {
      path: `${root}/index.html`,
      content: page(
        "simple",
        names.map((name) => ({ text: name, href: `${name}/` })),
      ),
    },
    ...pages,
  ];
}

/** Titles, names and references are of letters, digits and `.-_+!%#=/` (see the lock's schema): nothing to escape. */
function page(title: string, links: readonly { text: string; href: string }[]): Buffer {
  const lines = links.map(({ text, href }) => `<a href="${href}">${text}</a><br>\n`).join("");
  const head = `<meta charset="utf-8"><meta name="pypi:repository-version" content="1.0"><title>${title}</title>`;
  return Buffer.from(`<!DOCTYPE html>\n<html>\n<head>${head}</head>\n<body>\n${lines}</body>\n</html>\n`);
}

function layout(images: readonly LockedImage[]): RepositoryFile[] {
  return [
    { path: `${inputFolders.images}/oci-layout`, content: Buffer.from(ociLayoutFile) },
    { path: `${inputFolders.images}/index.json`, content: Buffer.from(ociIndex(images)) },
  ];
}

function imageParts({ manifest, config, layers }: LockedImage): ObjectFile[] {
  const place = (part: LockedDescriptor) => objectFile(`${inputFolders.images}/blobs/sha256/${part.sha256}`, part);
  return [manifest, config, ...layers].map(place);
}

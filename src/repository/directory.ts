import { constants } from "node:fs";
import { copyFile, mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { nameFullDisk } from "../host/disk.ts";
import { takeExclusive } from "../host/lease.ts";
import { hashFile } from "../store/store.ts";
import { certificateName, inputFolders, sumsName, sumsSignatureName } from "./names.ts";
import type { RepositoryFile } from "./release.ts";

/** A package that is to be in the directory. */
export interface PackageSource {
  /** Path from the repository's root. */
  path: string;
  sizeBytes: number;
  sha256: string;
  /** Brings the bytes to this file; they are known to have the hash afterwards. */
  bring(file: string): Promise<void>;
}

const leaseName = ".kubedos.lease";
/** Folders of a repository: only below them is anything replaced or removed. */
const folders = ["dists", "pool", ...Object.values(inputFolders)];
const rootFiles = [certificateName, sumsName, sumsSignatureName];

/** Opens a directory for a repository. Only one kubedos writes to it at a time. @throws as `needOwnDirectory` */
export async function openRepositoryDirectory(
  directory: string,
  signal: AbortSignal,
): Promise<{ release(): Promise<void> }> {
  await needOwnDirectory(directory);
  await mkdir(directory, { recursive: true });
  return takeExclusive(join(directory, leaseName), signal);
}

/** @throws KubedosError when the directory holds something that no repository of kubedos has */
async function needOwnDirectory(directory: string): Promise<void> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw new KubedosError("usage", `${directory} cannot be used: ${error.message}`, { cause: error });
  });
  const known = new Set([...folders, ...rootFiles, leaseName, "lost+found"]);
  const foreign = names.filter((name) => !known.has(name));
  if (foreign.length === 0) return;
  throw new KubedosError("usage", `${directory} holds other things: ${foreign.slice(0, 5).join(", ")}`, {
    hint: "name an empty directory, a new one, or one that this command made",
  });
}

/** Brings one package to its place. A file that is there already is kept if it has the right bytes. */
export async function placePackage(directory: string, source: PackageSource): Promise<"kept" | "placed"> {
  const target = join(directory, source.path);
  const info = await stat(target).catch(() => undefined);
  if (info?.size === source.sizeBytes && (await hashFile(target)) === source.sha256) return "kept";
  const unfinished = `${target}.new`;
  try {
    await mkdir(dirname(target), { recursive: true });
    await source.bring(unfinished);
    await rename(unfinished, target);
  } catch (error) {
    throw await nameFullDisk(error, directory);
  }
  return "placed";
}

/** Copies a file of the store, sharing its blocks where the file system can. */
export async function copyObject(object: string, file: string): Promise<void> {
  await rm(file, { force: true });
  await copyFile(object, file, constants.COPYFILE_FICLONE);
}

/**
 * Writes what describes the packages, the signed lists last, and then removes from the repository's folders what it does
 * not have. An interrupted run leaves the former indexes or the new ones.
 */
export async function finishRepository(
  directory: string,
  files: readonly RepositoryFile[],
  packages: readonly Pick<PackageSource, "path">[],
): Promise<void> {
  const order = files.toSorted((a, b) => Number(isRelease(a.path)) - Number(isRelease(b.path)));
  try {
    for (const { path, content } of order) {
      const target = join(directory, path);
      await mkdir(dirname(target), { recursive: true });
      await writeFile(`${target}.new`, content, { mode: 0o644 });
      await rename(`${target}.new`, target);
    }
  } catch (error) {
    throw await nameFullDisk(error, directory);
  }
  const wanted = new Set([...files, ...packages].map(({ path }) => path));
  for (const folder of folders) {
    if (await removeOthers(directory, folder, wanted))
      await rm(join(directory, folder), { recursive: true, force: true });
  }
  for (const name of [sumsName, sumsSignatureName]) {
    if (!wanted.has(name)) await rm(join(directory, name), { force: true });
  }
}

function isRelease(path: string): boolean {
  return /\/(InRelease|Release|Release\.gpg)$|^SHA256SUMS/.test(path);
}

/** Returns whether the folder is empty now. */
async function removeOthers(directory: string, folder: string, wanted: ReadonlySet<string>): Promise<boolean> {
  const entries = await readdir(join(directory, folder), { withFileTypes: true }).catch(() => []);
  let left = 0;
  for (const entry of entries) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) {
      if (await removeOthers(directory, path, wanted)) await rm(join(directory, path), { recursive: true });
      else left++;
    } else if (wanted.has(path)) left++;
    else await rm(join(directory, path));
  }
  return left === 0;
}

import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { locateFoundry } from "../assemble/foundry.ts";
import { readProjectFile } from "../host/project.ts";
import type { SpecPaths } from "../host/paths.ts";
import { lockedObjects } from "../lock/objects.ts";
import type { Lock } from "../lock/types.ts";
import { manifestFiles, parseManifest } from "../seal/manifest.ts";
import { hashFile, type Store } from "../store/store.ts";
import { capsuleFiles, capsuleFolders, indexText, sumsText, type CapsuleFile } from "./format.ts";
import { readmeText, restoreText } from "./texts.ts";
import { toolArchive } from "./tool.ts";

/** A file of a capsule, and where its bytes come from. */
export type PlannedFile = CapsuleFile & {
  from: string | Uint8Array;
  /** Where in the file `from` it starts; a part of a larger one. */
  offsetBytes?: number;
  mode: number;
};

export interface CapsuleContent {
  cluster: string;
  lock: Lock;
  paths: SpecPaths;
  store: Store;
  withVault: boolean;
  /** Signs the list of all files (signify's format). */
  sign(message: Uint8Array): Promise<string>;
  /** Files beside the spec that belong to it, by their path from there. */
  content: readonly { path: string; mode: number; content: Uint8Array }[];
}

/**
 * Everything that goes into a capsule, in the order to write it; the list of sums and its signature come last. The same
 * inputs give the same bytes: nothing is in it that spec, lock, store, output, report and kubedos do not hold.
 *
 * @throws KubedosError when an input that the lock names is not in the store, or nothing was built yet
 */
export async function planCapsule(content: CapsuleContent): Promise<PlannedFile[]> {
  const { lock, paths, store, cluster } = content;
  const files: PlannedFile[] = [];
  const addBytes = (path: string, from: string | Uint8Array, mode = 0o644) => {
    const bytes = typeof from === "string" ? Buffer.from(from) : from;
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    files.push({ path, sizeBytes: bytes.length, sha256, from: bytes, mode });
  };
  const addFile = async (path: string, from: string, known?: string) => {
    const { size } = await stat(from);
    files.push({ path, sizeBytes: size, sha256: known ?? (await hashFile(from)), from, mode: 0o644 });
  };
  // 1. What a person starts from.
  const spec = basename(paths.spec, extname(paths.spec));
  const foundry = locateFoundry(lock, store);
  addBytes(capsuleFiles.busybox, await readFile(join(foundry.directory, "usr/bin/busybox")), 0o755);
  addBytes(capsuleFiles.packages, packageList(lock));
  addBytes("boot/enter.sh", await readProjectFile("src/capsule/files/enter.sh"), 0o755);
  addBytes(capsuleFiles.launcher, await readProjectFile("src/capsule/files/kubedos.sh"), 0o755);
  addBytes(capsuleFiles.verify, await readProjectFile("src/capsule/files/VERIFY.sh"), 0o755);
  addBytes(capsuleFiles.tool, await toolArchive(lock.epoch));
  // 2. Inputs.
  addBytes(`${capsuleFolders.spec}/${spec}.yaml`, await readFile(paths.spec));
  addBytes(`${capsuleFolders.spec}/${spec}.lock`, await readFile(paths.lock));
  for (const { path, mode, content: bytes } of content.content) {
    addBytes(`${capsuleFolders.spec}/${path}`, bytes, mode);
  }
  for (const path of content.withVault ? [paths.vault, paths.keyring] : []) {
    const bytes = await readFile(path).catch(() => undefined); // not every cluster has a keyring
    if (bytes !== undefined) addBytes(`${capsuleFolders.spec}/${basename(path)}`, bytes, 0o600);
  }
  for (const { sha256, name, sizeBytes } of lockedObjects(lock)) {
    if ((await store.verify(sha256, { sizeBytes })) !== "ok") {
      throw new KubedosError("failed", `${name} (${sha256}) is not in the store`, {
        hint: "run without --offline: what the lock names is fetched",
      });
    }
    const path = `${capsuleFolders.store}/${sha256.slice(0, 2)}/${sha256}`;
    files.push({ path, sizeBytes, sha256, from: store.path(sha256), mode: 0o644 });
  }
  // 3. Output, and what the last `up` found.
  const text = await readFile(join(paths.out, manifestFiles.manifest), "utf8");
  const { artifacts, documents } = parseManifest(text, join(paths.out, manifestFiles.manifest));
  for (const { file, sha256 } of [...artifacts, ...documents]) {
    await addFile(`${capsuleFolders.artifacts}/${file}`, join(paths.out, file), sha256);
  }
  const { manifest, signature, cosignSignature, provenance } = manifestFiles;
  for (const name of [manifest, signature, cosignSignature, provenance]) {
    await addFile(`${capsuleFolders.artifacts}/${name}`, join(paths.out, name));
  }
  for (const name of ["report.json", "report.md"]) {
    const path = join(paths.state, name);
    if ((await stat(path).catch(() => undefined)) !== undefined)
      await addFile(`${capsuleFolders.report}/${name}`, path);
  }
  // 4. What it says of itself.
  const about = {
    cluster,
    spec,
    epoch: lock.epoch,
    withVault: content.withVault,
    withMachines: lock.machines !== undefined,
    version: await version(),
  };
  addBytes(capsuleFiles.readme, readmeText(about));
  addBytes(capsuleFiles.restore, restoreText(about));
  const described = files.map(({ path, sizeBytes, sha256 }) => ({ path, sizeBytes, sha256 }));
  const index = indexText({
    format: 1,
    cluster,
    epoch: lock.epoch,
    kubedos: about.version,
    spec,
    vault: content.withVault,
    files: described.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
  });
  addBytes(capsuleFiles.index, index);
  const sums = sumsText(files);
  addBytes(capsuleFiles.sums, sums);
  addBytes(capsuleFiles.signature, await content.sign(Buffer.from(sums)));
  return files;
}

async function version(): Promise<string> {
  return (JSON.parse(await readProjectFile("package.json")) as { version: string }).version;
}

/** Build tools, and what runs machines. base-files brings the links that the others are unpacked through. */
function packageList(lock: Lock): string {
  const packages = [...lock.foundry, ...(lock.machines ?? [])];
  const order = packages.toSorted((a, b) => Number(b.name === "base-files") - Number(a.name === "base-files"));
  return order.map(({ sha256, name }) => `${sha256} ${name}\n`).join("");
}

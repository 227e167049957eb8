import { createWriteStream, createReadStream } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Stage } from "../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../assemble/tools.ts";
import type { Lock, LockedPackage } from "../lock/types.ts";
import type { Spec } from "../spec/types.ts";
import type { Store } from "../store/store.ts";
import { tarEnd, tarPadding, ustarHeader } from "../targets/tar.ts";
import type { ArchiveSigner } from "./signer.ts";
import { inputFiles, type ObjectFile } from "./inputs.ts";
import { poolFiles, type PoolFile } from "./pool.ts";
import { installerDirectory, signedFiles } from "./names.ts";
import { certificateFile, suiteFiles, type ReleaseFields, type RepositoryFile } from "./release.ts";

/** apt's index of packages that are in the store. Changes with the lock only. */
export function packagesStage(
  tools: Tools,
  packages: readonly LockedPackage[],
  store: Store,
  name = "packages",
): Stage {
  const files = poolFiles(packages);
  const objects = join(store.directory, "store/sha256");
  return {
    name,
    version: scriptVersion(tools, "packages.sh"),
    options: { packages: files.map(({ path, entry }) => [path, entry.sha256]) },
    inputs: {},
    outputs: ["Packages", "Packages.xz"],
    async run(work) {
      const debs = join(work.out, "debs");
      const lines = files.map(({ path, entry }) => `${path} ${relative(objects, store.path(entry.sha256))}\n`);
      await writeFile(debs, lines.join(""));
      await runScript(tools, work, "packages.sh", [], { inputs: { debs, objects } });
    },
  };
}

/** What signs a repository, and what its Release file says. */
export interface RepositoryIdentity {
  fields: ReleaseFields;
  signer: ArchiveSigner;
}

/** Who signs the repository of a lock, and what its Release file says. */
export function repositoryIdentity(spec: Spec, lock: Pick<Lock, "epoch">, signer: ArchiveSigner): RepositoryIdentity {
  return { fields: { suite: spec.platform.suite, label: `kubedos ${spec.metadata.name}`, date: lock.epoch }, signer };
}

/** Everything of a repository but its packages, sorted by path. */
export function repositoryFiles(
  { fields, signer }: RepositoryIdentity,
  indexes: Readonly<Record<string, Uint8Array>>,
): RepositoryFile[] {
  return [certificateFile(signer), ...suiteFiles(fields, indexes, signer)].toSorted((a, b) =>
    a.path < b.path ? -1 : 1,
  );
}

/**
 * The whole repository as one tar: `NAME.darksite.tar`, which hubs serve and a person unpacks: the lock's packages for
 * the platform, Python distributions, files and images. The id covers the certificate, not the key.
 */
export function darksiteStage(packagesIndex: Stage, lock: Lock, identity: RepositoryIdentity, store: Store): Stage {
  const { fields, signer } = identity;
  const pool = poolFiles(lock.platform).map(poolObject);
  const { wheels, blobs, images } = lock;
  const inputs: Stage["inputs"] = {};
  for (const name of packagesIndex.outputs) inputs[name] = { stage: packagesIndex, output: name };
  return {
    name: "darksite",
    version: "1",
    options: { ...fields, certificate: signer.certificate, ...present({ wheels, blobs, images }) },
    inputs,
    outputs: ["image"],
    async run(work) {
      const indexes: Record<string, Uint8Array> = {};
      for (const name of packagesIndex.outputs) indexes[name] = await readFile(work.inputs[name]!);
      const others = inputFiles(lock, signer, fields.date);
      const files = [...repositoryFiles(identity, indexes), ...others.files];
      const members = archiveMembers(files, [...pool, ...others.objects], fields.date, store);
      await pipeline(Readable.from(members, { objectMode: false }), createWriteStream(join(work.out, "image")), {
        signal: work.signal,
      });
    },
  };
}

/**
 * A repository for Debian's installer, as a tar: packages, and the installer's parts with an index of their own. Beside
 * it, as `signature`, a tar of what only the key makes: see `signedFiles`.
 *
 * @param indexes of the packages and of the parts, each with an output `Packages`
 */
export function installerRepositoryStage(
  indexes: { packages: Stage; parts: Stage },
  files: readonly LockedPackage[],
  identity: RepositoryIdentity,
  store: Store,
): Stage {
  const { fields, signer } = identity;
  const pool = poolFiles(files).map(poolObject);
  return {
    name: "netinst-repository",
    version: "2",
    options: { ...fields, certificate: signer.certificate },
    inputs: {
      packages: { stage: indexes.packages, output: "Packages" },
      parts: { stage: indexes.parts, output: "Packages" },
    },
    outputs: ["image", "signature"],
    async run(work) {
      const own = repositoryFiles(identity, {
        Packages: await readFile(work.inputs["packages"]!),
        [`${installerDirectory}/Packages`]: await readFile(work.inputs["parts"]!),
      });
      const write = (name: string, files: readonly RepositoryFile[], objects: readonly ObjectFile[]) => {
        const members = archiveMembers(files, objects, fields.date, store);
        return pipeline(Readable.from(members, { objectMode: false }), createWriteStream(join(work.out, name)), {
          signal: work.signal,
        });
      };
      await write("image", own, pool);
      const signed = signedFiles(fields.suite);
      await write(
        "signature",
        own.filter(({ path }) => signed.includes(path)),
        [],
      );
    },
  };
}

/** A package of the pool as an object at its path. */
export function poolObject({ path, entry: { sha256, sizeBytes } }: PoolFile): ObjectFile {
  return { path, sha256, sizeBytes };
}

/** Without the fields that are not there: a lock that has none of them keeps its stage's id. */
function present(sections: Pick<Lock, "wheels" | "blobs" | "images">): Record<string, unknown> {
  return Object.fromEntries(Object.entries(sections).filter(([, values]) => values !== undefined));
}

/** The bytes of a tar with the files first, then what is in the store. */
async function* archiveMembers(
  files: readonly RepositoryFile[],
  objects: readonly ObjectFile[],
  date: number,
  store: Store,
): AsyncGenerator<Uint8Array> {
  for (const { path, content } of files) {
    yield ustarHeader(path, content.length, date);
    yield content;
    yield Buffer.alloc(tarPadding(content.length));
  }
  for (const { path, sha256, sizeBytes } of objects) {
    yield ustarHeader(path, sizeBytes, date);
    yield* createReadStream(store.path(sha256), { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>;
    yield Buffer.alloc(tarPadding(sizeBytes));
  }
  yield tarEnd;
}

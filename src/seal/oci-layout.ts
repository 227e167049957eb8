import { constants } from "node:fs";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import type { LockedDescriptor, LockedImage } from "../lock/inputs.ts";
import type { Store } from "../store/store.ts";

/** Content of a layout's file `oci-layout`. */
export const ociLayoutFile = '{"imageLayoutVersion":"1.0.0"}';

/**
 * Writes locked images as one OCI layout into a directory that is empty or missing; `ctr images import` and
 * `skopeo copy oci:DIR:NAME` read it. The same images give the same bytes.
 * https://github.com/opencontainers/image-spec/blob/main/image-layout.md
 *
 * @throws KubedosError that names the image and the digest which the store lacks or holds damaged
 */
export async function writeOciLayout(images: readonly LockedImage[], directory: string, store: Store): Promise<void> {
  const blobs = join(directory, "blobs", "sha256");
  await mkdir(blobs, { recursive: true });
  for (const { reference, manifest, config, layers } of images) {
    for (const part of [manifest, config, ...layers]) await placeBlob(reference, part, blobs, store);
  }
  await writeFile(join(directory, "oci-layout"), ociLayoutFile);
  await writeFile(join(directory, "index.json"), ociIndex(images));
}

/**
 * Whether the lock names all parts of each image: what its manifest, which is in the store, lists.
 *
 * @throws KubedosError that names the image and the digests that the lock lacks, or has too many
 */
export async function checkImages(images: readonly LockedImage[], store: Store): Promise<void> {
  for (const { reference, manifest, config, layers } of images) {
    const content = JSON.parse(await readFile(store.path(manifest.sha256), "utf8")) as {
      config: { digest: string };
      layers: { digest: string }[];
    };
    const listed = [content.config, ...content.layers].map(({ digest }) => digest);
    const locked = [config, ...layers].map(({ sha256 }) => `sha256:${sha256}`);
    const missing = listed.filter((digest) => !locked.includes(digest));
    const foreign = locked.filter((digest) => !listed.includes(digest));
    if (missing.length + foreign.length === 0) continue;
    const parts = [
      ...missing.map((digest) => `it lacks ${digest}`),
      ...foreign.map((digest) => `${digest} is no part of it`),
    ];
    throw new KubedosError("spec", `the lock does not hold ${reference} as its manifest says: ${parts.join(", ")}`, {
      hint: "a lock is not edited by hand: restore it from version control, or run `kubedos lock --update`",
    });
  }
}

/** The layout's index: one entry an image, named for containerd as well as for skopeo. */
export function ociIndex(images: readonly LockedImage[]): string {
  return JSON.stringify({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: images.map(({ reference, manifest }) => ({
      mediaType: manifest.mediaType,
      digest: `sha256:${manifest.sha256}`,
      size: manifest.sizeBytes,
      platform: { architecture: "amd64", os: "linux" },
      annotations: { "io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference },
    })),
  });
}

async function placeBlob(
  reference: string,
  { sha256, sizeBytes }: LockedDescriptor,
  blobs: string,
  store: Store,
): Promise<void> {
  if ((await store.verify(sha256, { sizeBytes })) !== "ok") {
    throw new KubedosError("failed", `${reference}: sha256:${sha256} is not in the store`, {
      hint: "run `kubedos build` with a network once, or `kubedos store import` a capsule that holds it",
    });
  }
  await copyFile(store.path(sha256), join(blobs, sha256), constants.COPYFILE_FICLONE);
}

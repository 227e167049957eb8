import { copyFile, link, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import type { LockedDescriptor, LockedImage } from "../lock/inputs.ts";
import type { Store } from "../store/store.ts";

/**
 * Writes locked images as one OCI layout into a directory that is empty or missing; `ctr images import` and
 * `skopeo copy oci:DIR:NAME` read it. The same images give the same bytes. Objects are linked where that is possible.
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
  await writeFile(join(directory, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  await writeFile(join(directory, "index.json"), ociIndex(images));
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
      hint: "run `kubedos build` with a network once, or import a capsule that holds it",
    });
  }
  const target = join(blobs, sha256);
  await link(store.path(sha256), target).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code === "EEXIST") return; // shared by two images
    await copyFile(store.path(sha256), target);
  });
}

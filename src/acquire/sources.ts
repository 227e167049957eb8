import type { RunContext } from "../host/context.ts";
import { createHttpClient } from "../host/http.ts";
import type { LockedBlob, LockedImage } from "../lock/inputs.ts";
import { sourceBases } from "../lock/lock.ts";
import type { Lock } from "../lock/types.ts";
import { parseReference } from "../spec/image-reference.ts";
import type { Spec, SpecBlob } from "../spec/types.ts";
import { acquireSources } from "./acquire.ts";
import type { AcquireSources, Origin } from "./places.ts";
import { openPythonIndex } from "./python-index.ts";
import { openRegistry } from "./registry.ts";
import { webSettings } from "./web.ts";

/** Where everything of a lock comes from: archives' mirrors, and an origin for each other content. */
export async function lockSources(
  spec: Pick<Spec, "platform">,
  lock: Lock,
  context: Pick<RunContext, "signal">,
): Promise<AcquireSources> {
  const { mirror, sources, blobs, images } = spec.platform;
  const debian = await acquireSources(mirror, context.signal);
  const others = Object.fromEntries(sources.map(({ name, urls }) => [name, sourceBases(urls)]));
  return {
    ...debian,
    mirrors: { ...debian.mirrors, ...others },
    origins: new Map([
      ...wheelOrigins(lock.wheels ?? [], context.signal),
      ...blobOrigins(lock.blobs ?? [], blobs),
      ...imageOrigins(lock.images ?? [], images, context.signal),
    ]),
  };
}

/** The host's Python indexes, opened when the first distribution is missing. */
export function wheelOrigins(
  wheels: readonly { name: string; filename: string; sha256: string }[],
  signal: AbortSignal,
): Map<string, Origin> {
  const index = once(openPythonIndex);
  return new Map(
    wheels.map(({ name, filename, sha256 }): [string, Origin] => [
      sha256,
      {
        where: "the Python index",
        places: async () => (await index()).places(name, filename, sha256, signal),
      },
    ]),
  );
}

/** The URLs that the spec has for each file. */
export function blobOrigins(locked: readonly LockedBlob[], blobs: readonly SpecBlob[]): Map<string, Origin> {
  const client = once(async () => createHttpClient(await webSettings(), 8));
  const urls = new Map(blobs.map((blob) => [blob.name, blob.urls]));
  return new Map(
    locked.map(({ name, sha256 }): [string, Origin] => [
      sha256,
      {
        where: "the web",
        async places() {
          const found = (urls.get(name) ?? []).map((url) => new URL(url));
          return Promise.all(found.map(async (url) => ({ base: url.origin, url, client: await client() })));
        },
      },
    ]),
  );
}

/** The registry of each image, for its manifest, configuration and layers. */
export function imageOrigins(
  locked: readonly LockedImage[],
  images: Spec["platform"]["images"],
  signal: AbortSignal,
): Map<string, Origin> {
  const registry = once(() => openRegistry(plainRegistries(images)));
  const origins = new Map<string, Origin>();
  for (const { reference, manifest, config, layers } of locked) {
    const image = parseReference(reference)!;
    for (const { sha256 } of [manifest, config, ...layers]) {
      const kind = sha256 === manifest.sha256 ? "manifests" : "blobs";
      origins.set(sha256, {
        where: `the registry ${image.registry}`,
        places: async () => [await (await registry()).place(image, kind, sha256, signal)],
      });
    }
  }
  return origins;
}

/** Which registries the spec says speak plain http. */
export function plainRegistries(images: Spec["platform"]["images"]): (registry: string) => boolean {
  const told = images.filter(({ plainHttp }) => plainHttp).map(({ reference }) => parseReference(reference)?.registry);
  return (registry) => told.includes(registry);
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

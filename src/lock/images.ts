import * as z from "zod";
import { KubedosError } from "../../shared/error.ts";
import { readVerified } from "../acquire/fetch-new.ts";
import type { Registry, RegistryManifest } from "../acquire/registry.ts";
import { parseReference, type ImageReference } from "../spec/image-reference.ts";
import type { Store } from "../store/store.ts";
import type { LockedDescriptor, LockedImage } from "./inputs.ts";

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, "must be a sha256 digest");
const descriptorSchema = z.object({ mediaType: z.string(), digest, size: z.int().positive() });
const indexSchema = z.object({
  manifests: z.array(
    descriptorSchema.extend({
      platform: z.object({ os: z.string(), architecture: z.string(), variant: z.string().optional() }).optional(),
    }),
  ),
});
const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  config: descriptorSchema,
  layers: z.array(descriptorSchema),
});
const configSchema = z.object({ os: z.string(), architecture: z.string() });

/**
 * Pins one image: an index leads to its linux/amd64 manifest; that manifest and the configuration are put into the
 * store, layers are only named. https://github.com/opencontainers/image-spec
 *
 * @throws KubedosError when there is no such image, none for linux/amd64, or the registry's bytes are not what it names
 */
export async function lockImage(
  reference: string,
  registry: Registry,
  store: Store,
  signal: AbortSignal,
): Promise<LockedImage> {
  const image = parseReference(reference)!;
  const first = await registry.manifest(image, image.digest ?? image.tag ?? "latest", signal);
  const manifest = await chooseManifest(reference, image, first, registry, signal);
  const content = parse(manifestSchema, manifest, reference);
  const config = await readConfig(reference, image, content.config, registry, signal);
  const { os, architecture } = parse(configSchema, { bytes: config }, reference);
  if (os !== "linux" || architecture !== "amd64") throw wrongPlatform(reference, [`${os}/${architecture}`]);
  await store.putBytes(manifest.bytes);
  await store.putBytes(config);
  return {
    reference,
    manifest: { mediaType: manifest.mediaType, sizeBytes: manifest.bytes.length, sha256: manifest.sha256 },
    config: locked(content.config),
    layers: content.layers.map(locked),
  };
}

async function chooseManifest(
  reference: string,
  image: ImageReference,
  first: RegistryManifest,
  registry: Registry,
  signal: AbortSignal,
): Promise<RegistryManifest> {
  if (!/index|manifest\.list/.test(first.mediaType)) return first;
  const { manifests } = parse(indexSchema, first, reference);
  const fitting = manifests.filter(({ platform }) => platform?.os === "linux" && platform.architecture === "amd64");
  const chosen = fitting.find(({ platform }) => platform?.variant === undefined) ?? fitting[0];
  if (chosen === undefined) {
    const platforms = manifests.flatMap(({ platform }) =>
      platform === undefined ? [] : [`${platform.os}/${platform.architecture}`],
    );
    throw wrongPlatform(reference, [...new Set(platforms)]);
  }
  return registry.manifest(image, chosen.digest, signal);
}

async function readConfig(
  reference: string,
  image: ImageReference,
  { digest: wanted, size }: z.infer<typeof descriptorSchema>,
  registry: Registry,
  signal: AbortSignal,
): Promise<Buffer> {
  const sha256 = wanted.slice("sha256:".length);
  const { client, url, headers } = await registry.place(image, "blobs", sha256, signal);
  return readVerified({ client, url, headers, maxBytes: size, signal }, sha256, `the configuration of ${reference}`);
}

function parse<T>(schema: z.ZodType<T>, { bytes }: Pick<RegistryManifest, "bytes">, reference: string): T {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch {
    value = undefined;
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new KubedosError("failed", `${reference}: not an image: ${issue!.path.join(".")} ${issue!.message}`, {
    hint: "kubedos reads OCI images and Docker's schema 2",
  });
}

function locked({ mediaType, size, digest: text }: z.infer<typeof descriptorSchema>): LockedDescriptor {
  return { mediaType, sizeBytes: size, sha256: text.slice("sha256:".length) };
}

function wrongPlatform(reference: string, found: readonly string[]): KubedosError {
  return new KubedosError("spec", `${reference} is not for linux/amd64 but for ${found.join(", ") || "no platform"}`, {
    hint: "name an image that has linux/amd64",
  });
}

import * as z from "zod";
import { KubedosError } from "../../shared/error.ts";
import { kernelFlavours, type KernelFlavour } from "../spec/types.ts";

/** Names of the files beside the artifacts. */
export const manifestFiles = {
  manifest: "manifest.json",
  /** signify(1) signature over the manifest, and the same as cosign reads it: base64 of the 64 bytes. */
  signature: "manifest.json.sig",
  cosignSignature: "manifest.json.cosign",
  /** The foundry's public key in signify's format, and as PEM (openssl, cosign). */
  publicKey: "foundry.pub",
  publicKeyPem: "foundry.pem",
  /** Secure Boot certificates: what the owner of a machine enrols, and what the boot image is signed with (db). */
  certificates: { pk: "secureboot-pk.pem", kek: "secureboot-kek.pem", db: "secureboot-db.pem" },
  /** Detached Secure Boot signature of the boot image (PKCS #7, DER), as sbsign --detached makes it. */
  bootSignature: "boot.efi.p7",
  /** Tar of the certificate and the signed files of the repository on the medium of the target netinst. */
  installerSignature: "netinst.release.tar",
  provenance: "provenance.intoto.jsonl",
  cyclonedx: "sbom.cdx.json",
  spdx: "sbom.spdx.json",
} as const;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const content = z.object({ sha256, sizeBytes: z.int().min(0) });
/** A name, never a path: the manifest is read before anything vouches for it. */
const file = content.extend({ file: z.string().regex(/^[A-Za-z0-9][\w.+-]{0,199}$/) });

/** A root: dm-verity root hash, data and hash tree. */
const sealedRoot = { rootHash: sha256, root: content, verity: content };
const bootImage = z.object({
  /** The boot image before signing, the detached signature, and the image with it attached. */
  unsigned: content,
  signature: content,
  signed: content,
  /** The whole EFI system partition. */
  esp: content,
  /** Contents of the boot image: kernel, first part of the initrd, cluster layer (its last part), command line. */
  kernel: content,
  initrd: content,
  layer: content,
  commandLine: content,
});

const manifestSchema = z.object({
  format: z.literal(1),
  cluster: z.string(),
  /** Fixed clock of the build, seconds since 1970. */
  epoch: z.int(),
  artifacts: z.array(file.extend({ target: z.string() })),
  /** Every other file beside the manifest but its signatures and the provenance, which names the manifest. */
  documents: z.array(file),
  platform: z.object({
    suite: z.string(),
    features: z.array(z.string()),
    ...sealedRoot,
  }),
  /** Signify key (base64) that signs the nodes' seeds, where it is not the one that signed the manifest. */
  seedKey: z.string().optional(),
  boot: bootImage,
  /** Sealed images with another kernel than that of `platform` and `boot`, and the targets that hold them. */
  images: z
    .array(
      z.object({
        kernel: z.enum(kernelFlavours),
        targets: z.array(z.string()),
        platform: z.object(sealedRoot),
        boot: bootImage,
      }),
    )
    .optional(),
  inputs: z.object({
    packages: z.int(),
    foundryPackages: z.int(),
    /** sha256 over the build tools' packages. */
    foundry: sha256,
    /** Stage name → id. */
    stages: z.record(z.string(), sha256),
  }),
});

/** What a build says about its output: hashes and sizes of every file, and of what is in the images. */
export type Manifest = z.infer<typeof manifestSchema>;
export type Content = z.infer<typeof content>;
export type ManifestFile = z.infer<typeof file>;

/**
 * Names of the files that belong to one sealed image; `kernel`: of one with another than the platform's own. Bills of
 * materials of a medium are named the same way.
 */
export function imageFiles(kernel?: string): Record<"bootSignature" | "cyclonedx" | "spdx", string> {
  const { bootSignature, cyclonedx, spdx } = manifestFiles;
  if (kernel === undefined) return { bootSignature, cyclonedx, spdx };
  const named = (file: string) => file.replace(".", `-${kernel}.`);
  return { bootSignature: named(bootSignature), cyclonedx: named(cyclonedx), spdx: named(spdx) };
}

/** One of a build's sealed images: the manifest as if there were no other, its files, the targets that hold it. */
export interface ImageView {
  /** Absent: the platform's own. */
  kernel?: KernelFlavour;
  manifest: Manifest;
  files: ReturnType<typeof imageFiles>;
  holds(target: string): boolean;
}

/** A build's sealed images, the platform's own first. */
export function sealedImages(manifest: Manifest): [ImageView, ...ImageView[]] {
  const { images = [], ...rest } = manifest;
  const others = images.map(({ kernel, targets, platform, boot }) => ({
    kernel,
    manifest: { ...rest, platform: { ...rest.platform, ...platform }, boot },
    files: imageFiles(kernel),
    holds: (target: string) => targets.includes(target),
  }));
  const holds = (target: string) => !others.some((image) => image.holds(target));
  return [{ manifest, files: imageFiles(), holds }, ...others];
}

/** The manifest as it speaks of the sealed image in a target. */
export function imageOf(manifest: Manifest, target: string): ImageView {
  return sealedImages(manifest).find((image) => image.holds(target))!;
}

/** The manifest as it is signed and published. */
export function manifestText(manifest: Manifest): string {
  return `${JSON.stringify(manifest, undefined, 2)}\n`;
}

/**
 * @throws KubedosError (code `failed`) when it is not a manifest, or one of a format that this version does not know
 */
export function parseManifest(text: string, path: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new KubedosError("failed", `${path} is damaged: it is not JSON`, { at: { file: path }, cause });
  }
  const format = (value as { format?: unknown } | null)?.format;
  if (typeof format === "number" && format > 1) {
    throw new KubedosError("failed", `${path} has format ${format}, which this kubedos does not know`, {
      at: { file: path },
      hint: "use the version of kubedos that made it, or a newer one",
    });
  }
  const parsed = manifestSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue === undefined ? "" : ` at ${issue.path.join(".") || "the top"}: ${issue.message}`;
  throw new KubedosError("failed", `${path} is not a whole manifest${where}`, {
    at: { file: path },
    hint: "build again with this version of kubedos; versions before the signed manifest wrote less",
  });
}

import { createPublicKey, verify, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { collectPlatform } from "../features/collect.ts";
import type { SpecPaths } from "../host/paths.ts";
import { projectAssets, readProjectFile } from "../host/project.ts";
import { readLock } from "../lock/file.ts";
import { signerOfPublished, type ArchiveSigner } from "../repository/signer.ts";
import { readBootImage } from "../seal/boot-image.ts";
import { ed25519PublicKey } from "../seal/dsse.ts";
import { imageOf, manifestFiles, type Manifest } from "../seal/manifest.ts";
import { readCpio } from "../seal/read-cpio.ts";
import type { Sign } from "../seal/signer.ts";
import { openArtifact } from "../seal/verify-artifact.ts";
import { readTrustedKey } from "../seal/verify-key.ts";
import { loadSpec } from "../spec/load.ts";
import type { Spec, TargetName } from "../spec/types.ts";
import { parseSignifyPublicKey, rawSignature } from "../vault/signify.ts";
import type { BuildInputs } from "./graph.ts";
import { installerTexts, writerTexts } from "./writer-texts.ts";

const bootSignatureEnding = ".efi.p7";
const layerPrefix = "kubedos/layer/";
/** Length of an RSA-2048 signature, which ends a detached Secure Boot signature. */
const rsaBytes = 256;

/**
 * What a build was made from, put together without its vault: spec and lock, and out of the published output what only
 * the foundry's keys can make: cluster layer, certificates, signatures. The layer is taken as it is if the manifest,
 * whose signature the caller has checked, vouches for it.
 *
 * @throws KubedosError when the output lacks one of these, or the layer in it is altered
 */
export async function publishedInputs(
  paths: Pick<SpecPaths, "spec" | "lock">,
  directory: string,
  manifest: Manifest,
  scratch: string,
  signal: AbortSignal,
): Promise<BuildInputs> {
  const read = (name: string) =>
    readFile(join(directory, name)).catch((cause: unknown) => {
      throw new KubedosError("failed", `${join(directory, name)} cannot be read: a rebuild takes it from there`, {
        hint: "use a whole copy of the output, or rebuild with the vault: `kubedos build --check`",
        cause,
      });
    });
  const written = await loadSpec(paths.spec);
  const { darksite, spec } = asPublished(written, manifest);
  assertMediaSigned(manifest);
  const lock = await readLock(paths.lock);
  if (lock === undefined) throw new KubedosError("spec", `there is no lock: ${paths.lock}`);
  const text = async (name: string) => (await read(name)).toString();
  const { certificates } = manifestFiles;
  const publicKey = await readTrustedKey(join(directory, manifestFiles.publicKey));
  const layer = await readLayer(directory, manifest, scratch, signal);
  const db = await text(certificates.db);
  const signatures = manifest.documents
    .filter((document) => document.file.endsWith(bootSignatureEnding))
    .map(async (document) => (await read(document.file)).subarray(-rsaBytes));
  const repositories = [
    ...(darksite === undefined ? [] : [darksite]),
    ...(spec.targets.includes("netinst") ? [manifestFiles.installerSignature] : []),
  ].map((name) => join(directory, name));
  return {
    spec,
    lock,
    platform: collectPlatform(spec, projectAssets()),
    layer,
    init: await readProjectFile("node/initrd/init"),
    seed: await readProjectFile("node/initrd/seed"),
    writer: await writerTexts(),
    installer: await installerTexts(),
    secureBoot: {
      pk: await text(certificates.pk),
      kek: await text(certificates.kek),
      db,
      sign: knownSigner(await Promise.all(signatures), createPublicKey(db), "sha256"),
    },
    signing: { publicKey, sign: await publishedSigner(publicKey, read) },
    archive: repositories.length === 0 ? noRepository : await signerOfPublished(repositories, spec.platform.suite),
    seedKey:
      manifest.seedKey === undefined
        ? publicKey
        : parseSignifyPublicKey(`untrusted comment: key\n${manifest.seedKey}\n`).publicKey,
  };
}

/** Earlier versions published no signature of what media and netboot start. @throws KubedosError where one is missing */
function assertMediaSigned({ artifacts, documents }: Manifest): void {
  const signatures = {
    iso: `writer${bootSignatureEnding}`,
    netboot: `netboot${bootSignatureEnding}`,
    netinst: manifestFiles.installerSignature,
  };
  for (const [target, wanted] of Object.entries(signatures)) {
    if (!artifacts.some((one) => one.target === target) || documents.some(({ file }) => file === wanted)) continue;
    throw new KubedosError("usage", `the target ${target} holds a signature that is not published: ${wanted}`, {
      hint: "rebuild with the vault: `kubedos build --check`; or build with this version, which publishes it",
    });
  }
}

/** The spec with the targets and the repository that were published, whatever the command line said instead of it. */
export function asPublished(written: Spec, { artifacts }: Manifest): { spec: Spec; darksite?: string } {
  const darksite = artifacts.find(({ target }) => target === "darksite")?.file;
  const targets = artifacts.filter(({ target }) => target !== "darksite").map(({ target }) => target as TargetName);
  const { repository } = written.platform;
  const mode = darksite === undefined ? "connected" : repository.mode === "connected" ? "darksite" : repository.mode;
  const platform = { ...written.platform, repository: { ...repository, mode } } satisfies Spec["platform"];
  return { spec: { ...written, targets, platform }, darksite };
}

/** Nothing asks for a signature where no repository is built. */
const noRepository: ArchiveSigner = { certificate: "", clearsign: () => "", sign: () => "" };

/** Signs what was signed before: with the signature of the manifest or the provenance that fits. */
async function publishedSigner(publicKey: Buffer, read: (name: string) => Promise<Buffer>): Promise<Sign> {
  const known = [rawSignature((await read(manifestFiles.signature)).toString())];
  const envelope = JSON.parse((await read(manifestFiles.provenance)).toString()) as { signatures: { sig: string }[] };
  known.push(...envelope.signatures.map(({ sig }) => Buffer.from(sig, "base64")));
  // What has no signature yet gets one that is none: the comparison shows that it differs.
  return knownSigner([...known, Buffer.alloc(64)], ed25519PublicKey(publicKey), null);
}

/** Gives the signature that fits a message, and where none does the last one: whoever checks it says so. */
function knownSigner(known: readonly Buffer[], key: KeyObject, hash: "sha256" | null): Sign {
  return (message) => Promise.resolve(known.find((one) => verify(hash, message, key, one)) ?? known.at(-1)!);
}

/** Files of the cluster layer, out of the first artifact that can be read. */
async function readLayer(
  directory: string,
  manifest: Manifest,
  scratch: string,
  signal: AbortSignal,
): Promise<BuildInputs["layer"]> {
  const order = manifest.artifacts.toSorted((a, b) => Number(b.target === "raw") - Number(a.target === "raw"));
  const reasons: string[] = [];
  for (const { target, file } of order) {
    try {
      const image = await openArtifact(target, join(directory, file), scratch, manifest, signal);
      if (image === undefined) continue;
      try {
        const { layer } = await readBootImage(image, imageOf(manifest, target).manifest);
        return readCpio(layer)
          .filter(({ path }) => path.startsWith(layerPrefix))
          .map(({ path, header, content }) => {
            return {
              path: path.slice(layerPrefix.length),
              mode: Number.parseInt(header.slice(0, 8), 16) & 0o7777,
              content,
            };
          });
      } finally {
        await image.close();
      }
    } catch (error) {
      signal.throwIfAborted();
      reasons.push(`${file}: ${(error as Error).message}`);
    }
  }
  if (reasons.length === 0) reasons.push("there are media only, and no disk image");
  throw new KubedosError("failed", `no artifact has a whole cluster layer: ${reasons.join("; ")}`, {
    hint: "the layer holds the nodes' public keys: use a whole copy of one disk image, or rebuild with the vault",
  });
}

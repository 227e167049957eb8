import { createHash } from "node:crypto";
import { basename } from "node:path";
import { stageId, type Stage } from "../assemble/engine.ts";
import { locateFoundry } from "../assemble/foundry.ts";
import { publicKeyPem } from "../seal/dsse.ts";
import {
  imageFiles,
  manifestFiles,
  manifestText,
  type Content,
  type Manifest,
  type ManifestFile,
} from "../seal/manifest.ts";
import { provenanceLine } from "../seal/provenance.ts";
import type { ActionRecord } from "../store/actions.ts";
import type { Store } from "../store/store.ts";
import { signifyPublicKey, signifyPublicKeyBase64, signifySignature } from "../vault/signify.ts";
import { flavourOf } from "../spec/flavours.ts";
import { graphStages, type BuildGraph, type BuildInputs } from "./graph.ts";
import type { SealedImage } from "./images.ts";

/** A text that is published beside the artifacts. */
export interface OutputDocument {
  name: string;
  text: string;
}

/**
 * Everything that is said about a build's artifacts, in the order to publish it: keys and certificates, provenance,
 * manifest, and last the manifest's signatures. The same build gives the same bytes. The manifest does not name the
 * provenance but the provenance the manifest, so that both can be signed at once.
 */
export async function outputDocuments(
  graph: BuildGraph,
  record: (stage: Stage) => ActionRecord,
  inputs: BuildInputs,
  artifacts: readonly { target: string; path: string; sizeBytes: number; sha256: string }[],
  store: Store,
): Promise<OutputDocument[]> {
  const { lock, signing, secureBoot } = inputs;
  const { certificates } = manifestFiles;
  const keys: OutputDocument[] = [
    { name: manifestFiles.publicKey, text: signifyPublicKey(signing.publicKey) },
    { name: manifestFiles.publicKeyPem, text: publicKeyPem(signing.publicKey) },
    { name: certificates.pk, text: secureBoot.pk },
    { name: certificates.kek, text: secureBoot.kek },
    { name: certificates.db, text: secureBoot.db },
  ];
  const facts = buildFacts(graph, record, inputs, artifacts, store);
  const described = [...storedDocuments(graph, record), ...keys.map(describe)];
  const manifest = { name: manifestFiles.manifest, text: manifestText({ ...facts, documents: described }) };
  const subjects = [...facts.artifacts, ...described, describe(manifest)];
  const [signature, provenance] = await allSigned([
    signing.sign(Buffer.from(manifest.text)),
    provenanceLine(facts, subjects, lock, signing),
  ]);
  return [
    ...keys,
    { name: manifestFiles.provenance, text: provenance },
    manifest,
    { name: manifestFiles.cosignSignature, text: signature.toString("base64") },
    { name: manifestFiles.signature, text: signifySignature(signing.publicKey, signature) },
  ];
}

/**
 * Documents that are objects of the store: of each sealed image bills of materials, the signatures of all boot images,
 * and what media have of both.
 */
export function storedDocuments(graph: BuildGraph, record: (stage: Stage) => ActionRecord): ManifestFile[] {
  const signatures = graph.signatures.map(({ file, stage }) => ({ file, ...record(stage).outputs["signature"]! }));
  const boms = [graph, ...graph.others].flatMap((image) => {
    const names = imageFiles(image === graph ? undefined : image.kernel);
    const { outputs } = record(image.sbom);
    return [
      { file: names.cyclonedx, ...outputs["cyclonedx"]! },
      { file: names.spdx, ...outputs["spdx"]! },
    ];
  });
  const others = graph.documents.map(({ file, stage, output }) => ({ file, ...record(stage).outputs[output]! }));
  return [...boms, ...signatures, ...others];
}

function buildFacts(
  graph: BuildGraph,
  record: (stage: Stage) => ActionRecord,
  { spec, lock, signing, seedKey }: BuildInputs,
  artifacts: readonly { target: string; path: string; sizeBytes: number; sha256: string }[],
  store: Store,
): Omit<Manifest, "documents"> {
  const output = (stage: Stage, name: string): Content => record(stage).outputs[name]!;
  const root = (image: SealedImage) => ({
    rootHash: String(record(image.root).meta["roothash"]),
    root: output(image.root, "root"),
    verity: output(image.root, "verity"),
  });
  const boot = (image: SealedImage) => ({
    unsigned: output(image.uki, "unsigned"),
    signature: output(image.sign, "signature"),
    signed: output(image.sign, "uki"),
    esp: output(image.esp, "esp"),
    kernel: output(image.initrd, "vmlinuz"),
    initrd: output(image.initrd, "initrd"),
    layer: graph.layer,
    commandLine: output(image.uki, "cmdline"),
  });
  const images = graph.others.map((image) => ({
    kernel: image.kernel,
    targets: spec.targets.filter((name) => flavourOf(name, spec) === image.kernel),
    platform: root(image),
    boot: boot(image),
  }));
  return {
    format: 1,
    cluster: spec.metadata.name,
    epoch: lock.epoch,
    artifacts: artifacts.map(({ target, path, sizeBytes, sha256 }) => ({
      target,
      file: basename(path),
      sizeBytes,
      sha256,
    })),
    platform: {
      suite: spec.platform.suite,
      features: spec.platform.features,
      ...root(graph),
    },
    ...(Buffer.from(seedKey).equals(signing.publicKey) ? {} : { seedKey: signifyPublicKeyBase64(seedKey) }),
    boot: boot(graph),
    ...(images.length === 0 ? {} : { images }),
    inputs: {
      packages: lock.platform.length,
      foundryPackages: lock.foundry.length,
      foundry: locateFoundry(lock, store).id,
      stages: Object.fromEntries(graphStages(graph).map((stage) => [stage.name, stageId(stage)])),
    },
  };
}

function describe({ name, text }: OutputDocument): ManifestFile {
  const bytes = Buffer.from(text);
  return { file: name, sizeBytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}

/** Waits for all, so that all that is missing is known at once; then the first failure counts. */
export async function allSigned<T extends readonly Promise<unknown>[]>(
  parts: readonly [...T],
): Promise<{ -readonly [Part in keyof T]: Awaited<T[Part]> }> {
  await Promise.allSettled(parts);
  return Promise.all(parts);
}

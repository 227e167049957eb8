import { createHash } from "node:crypto";
import { basename } from "node:path";
import { stageId, type Stage } from "../assemble/engine.ts";
import { locateFoundry } from "../assemble/foundry.ts";
import { publicKeyPem } from "../seal/dsse.ts";
import { manifestFiles, manifestText, type Content, type Manifest, type ManifestFile } from "../seal/manifest.ts";
import { provenanceLine } from "../seal/provenance.ts";
import type { ActionRecord } from "../store/actions.ts";
import type { Store } from "../store/store.ts";
import { signifyPublicKey, signifyPublicKeyBase64, signifySignature } from "../vault/signify.ts";
import { graphStages, type BuildGraph, type BuildInputs } from "./graph.ts";

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

/** Documents that are objects of the store: bills of materials, and the boot image's signature. */
export function storedDocuments(graph: BuildGraph, record: (stage: Stage) => ActionRecord): ManifestFile[] {
  const { outputs } = record(graph.sbom);
  return [
    { file: manifestFiles.cyclonedx, ...outputs["cyclonedx"]! },
    { file: manifestFiles.spdx, ...outputs["spdx"]! },
    { file: manifestFiles.bootSignature, ...record(graph.sign).outputs["signature"]! },
  ];
}

function buildFacts(
  graph: BuildGraph,
  record: (stage: Stage) => ActionRecord,
  { spec, lock, signing, seedKey }: BuildInputs,
  artifacts: readonly { target: string; path: string; sizeBytes: number; sha256: string }[],
  store: Store,
): Omit<Manifest, "documents"> {
  const output = (stage: Stage, name: string): Content => record(stage).outputs[name]!;
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
      rootHash: String(record(graph.root).meta["roothash"]),
      root: output(graph.root, "root"),
      verity: output(graph.root, "verity"),
    },
    ...(Buffer.from(seedKey).equals(signing.publicKey) ? {} : { seedKey: signifyPublicKeyBase64(seedKey) }),
    boot: {
      unsigned: output(graph.uki, "unsigned"),
      signature: output(graph.sign, "signature"),
      signed: output(graph.sign, "uki"),
      esp: output(graph.esp, "esp"),
      kernel: output(graph.initrd, "vmlinuz"),
      initrd: output(graph.initrd, "initrd"),
      layer: graph.layer,
      commandLine: output(graph.uki, "cmdline"),
    },
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
async function allSigned<A, B>(parts: [Promise<A>, Promise<B>]): Promise<[A, B]> {
  await Promise.allSettled(parts);
  return Promise.all(parts);
}

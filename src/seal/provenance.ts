import * as z from "zod";
import { KubedosError } from "../../shared/error.ts";
import type { Lock, LockedPackage } from "../lock/types.ts";
import type { SigningKey } from "../vault/types.ts";
import { keyFingerprint, openEnvelope, signEnvelope } from "./dsse.ts";
import type { Manifest, ManifestFile } from "./manifest.ts";

/**
 * SLSA provenance v1 as an in-toto statement in a DSSE envelope.
 * https://slsa.dev/spec/v1.0/provenance, https://github.com/in-toto/attestation/tree/main/spec/v1
 */
const payloadType = "application/vnd.in-toto+json";
const statementType = "https://in-toto.io/Statement/v1";
const predicateType = "https://slsa.dev/provenance/v1";

const statementSchema = z.object({
  _type: z.literal(statementType),
  subject: z.array(z.object({ name: z.string(), digest: z.object({ sha256: z.string() }) })),
  predicateType: z.literal(predicateType),
});

/** Package URL of a locked package. https://github.com/package-url/purl-spec (type deb) */
export function packageUrl({
  name,
  version,
  architecture,
}: Pick<LockedPackage, "name" | "version" | "architecture">): string {
  const part = (text: string) => encodeURIComponent(text).replaceAll("%3A", ":");
  return `pkg:deb/debian/${part(name)}@${part(version)}?arch=${architecture}`;
}

/**
 * One line: what was made (every file given), from which inputs by hash, by which foundry. No time is in it but the
 * lock's epoch: the same build gives the same bytes.
 */
export function provenanceLine(
  manifest: Omit<Manifest, "documents">,
  files: readonly ManifestFile[],
  lock: Lock,
  key: SigningKey,
): string {
  const dependency = (purpose: string) => (item: LockedPackage) => ({
    uri: packageUrl(item),
    digest: { sha256: item.sha256 },
    name: item.name,
    annotations: { purpose },
  });
  const statement = {
    _type: statementType,
    subject: files.map(({ file, sha256 }) => ({ name: file, digest: { sha256 } })),
    predicateType,
    predicate: {
      buildDefinition: {
        buildType: "urn:kubedos:build:1",
        externalParameters: {
          cluster: manifest.cluster,
          targets: manifest.artifacts.map(({ target }) => target),
          suite: manifest.platform.suite,
          features: manifest.platform.features,
          sourceDateEpoch: manifest.epoch,
        },
        internalParameters: { stages: manifest.inputs.stages, foundry: manifest.inputs.foundry },
        resolvedDependencies: [
          { uri: "urn:kubedos:cluster-layer", digest: { sha256: manifest.boot.layer.sha256 } },
          ...lock.platform.map(dependency("platform")),
          ...lock.foundry.map(dependency("build tool")),
        ],
      },
      runDetails: { builder: { id: `urn:kubedos:foundry:${keyFingerprint(key.publicKey)}` } },
    },
  };
  return signEnvelope(key, { payloadType, payload: Buffer.from(JSON.stringify(statement)) });
}

/**
 * Names and hashes of the files that a provenance line speaks of.
 *
 * @throws KubedosError when its signature is not the key's, or it is not such a statement
 */
export function readProvenance(publicKey: Uint8Array, line: string): { name: string; sha256: string }[] {
  const envelope = openEnvelope(publicKey, line);
  let value: unknown;
  try {
    value = JSON.parse(envelope.payload.toString());
  } catch {
    value = undefined;
  }
  const parsed = statementSchema.safeParse(value);
  if (envelope.payloadType !== payloadType || !parsed.success) {
    throw new KubedosError("failed", "it is not SLSA v1 provenance");
  }
  return parsed.data.subject.map(({ name, digest }) => ({ name, sha256: digest.sha256 }));
}

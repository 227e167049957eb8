import * as z from "zod";
import { KubedosError } from "../../shared/error.ts";
import type { Lock, LockedPackage } from "../lock/types.ts";
import { keyFingerprint, openEnvelope, signEnvelope } from "./dsse.ts";
import type { Manifest, ManifestFile } from "./manifest.ts";
import type { FoundrySigner } from "./signer.ts";

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
  predicate: z.object({
    buildDefinition: z.object({
      resolvedDependencies: z.array(
        z.object({
          uri: z.string(),
          digest: z.object({ sha256: z.string() }),
          annotations: z.object({ purpose: z.string() }).optional(),
        }),
      ),
    }),
  }),
});

/** What a provenance line says: what was made, and from what. */
export interface Provenance {
  subjects: { name: string; sha256: string }[];
  materials: { uri: string; sha256: string; purpose?: string }[];
}

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
export async function provenanceLine(
  manifest: Omit<Manifest, "documents">,
  files: readonly ManifestFile[],
  lock: Lock,
  signer: FoundrySigner,
): Promise<string> {
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
          ...(lock.shim ?? []).map(dependency("shim")),
          ...[...(lock.netinst ?? []), ...(lock.installer ?? [])].map(dependency("installer")),
        ],
      },
      runDetails: { builder: { id: `urn:kubedos:foundry:${keyFingerprint(signer.publicKey)}` } },
    },
  };
  return signEnvelope(signer, { payloadType, payload: Buffer.from(JSON.stringify(statement)) });
}

/**
 * What a provenance line says.
 *
 * @throws KubedosError when its signature is not the key's, or it is not such a statement
 */
export function readProvenance(publicKey: Uint8Array, line: string): Provenance {
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
  const { subject, predicate } = parsed.data;
  return {
    subjects: subject.map(({ name, digest }) => ({ name, sha256: digest.sha256 })),
    materials: predicate.buildDefinition.resolvedDependencies.map(({ uri, digest, annotations }) => ({
      uri,
      sha256: digest.sha256,
      purpose: annotations?.purpose,
    })),
  };
}

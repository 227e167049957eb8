import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { rawSignature, signifyPublicKey, signifyVerify } from "../vault/signify.ts";
import { manifestFiles, type Manifest } from "./manifest.ts";
import { readProvenance } from "./provenance.ts";
import type { Finding } from "./verify-image.ts";

/** What is wrong with the manifest's signature. */
export async function checkSignature(directory: string, manifest: Buffer, publicKey: Buffer): Promise<Finding[]> {
  const bad = (structure: string, message: string): Finding[] => [{ structure, message }];
  try {
    const signature = await readFile(join(directory, manifestFiles.signature), "utf8");
    const outcome = signifyVerify(signifyPublicKey(publicKey), manifest, signature);
    if (outcome === "valid") return [];
    if (outcome === "foreign") return bad(manifestFiles.signature, "is by another key");
    return bad(manifestFiles.manifest, "is not what was signed: the manifest or its signature is altered");
  } catch (error) {
    return bad(manifestFiles.signature, (error as Error).message);
  }
}

/** What is wrong with the copy of the signature that cosign reads. */
export async function checkCosignSignature(directory: string): Promise<Finding[]> {
  const structure = manifestFiles.cosignSignature;
  try {
    const [signify, cosign] = await Promise.all(
      [manifestFiles.signature, structure].map((name) => readFile(join(directory, name), "utf8")),
    );
    if (rawSignature(signify!).toString("base64") === cosign) return [];
    return [{ structure, message: `is not the signature that ${manifestFiles.signature} holds` }];
  } catch (error) {
    return [{ structure, message: (error as Error).message }];
  }
}

/**
 * What is wrong with the provenance: its signature, its subjects (exactly the manifest and what this names), and its
 * materials (as many packages as the manifest says, and this cluster layer).
 */
export async function checkProvenance(
  directory: string,
  manifest: Manifest,
  manifestBytes: Buffer,
  publicKey: Buffer,
): Promise<Finding[]> {
  let provenance: ReturnType<typeof readProvenance>;
  try {
    provenance = readProvenance(publicKey, await readFile(join(directory, manifestFiles.provenance), "utf8"));
  } catch (error) {
    return [{ structure: "envelope", message: (error as Error).message }];
  }
  const findings: Finding[] = [];
  // 1. Subjects.
  const subjects = new Map(provenance.subjects.map(({ name, sha256 }) => [name, sha256]));
  const manifestItself = {
    file: manifestFiles.manifest,
    sha256: createHash("sha256").update(manifestBytes).digest("hex"),
  };
  for (const { file, sha256 } of [...manifest.artifacts, ...manifest.documents, manifestItself]) {
    if (subjects.get(file) !== sha256) {
      findings.push({ structure: "subject", message: `does not speak of this ${file}` });
    }
    subjects.delete(file);
  }
  for (const name of subjects.keys()) {
    findings.push({ structure: "subject", message: `speaks of ${name}, which the manifest does not name` });
  }
  // 2. Materials.
  const count = (purpose: string) => provenance.materials.filter((one) => one.purpose === purpose).length;
  for (const [purpose, wanted] of [
    ["platform", manifest.inputs.packages],
    ["build tool", manifest.inputs.foundryPackages],
  ] as const) {
    if (count(purpose) === wanted) continue;
    const message = `names ${count(purpose)} packages (${purpose}) instead of the manifest's ${wanted}`;
    findings.push({ structure: "materials", message });
  }
  if (!provenance.materials.some(({ sha256 }) => sha256 === manifest.boot.layer.sha256)) {
    findings.push({ structure: "materials", message: "does not name this cluster layer" });
  }
  return findings;
}

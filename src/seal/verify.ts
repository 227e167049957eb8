import { mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { hashFile } from "../store/store.ts";
import { keyFingerprint } from "./dsse.ts";
import { openErofs } from "./erofs.ts";
import {
  manifestFiles,
  parseManifest,
  sealedImages,
  type ImageView,
  type Manifest,
  type ManifestFile,
} from "./manifest.ts";
import { certificateFingerprint } from "./signer.ts";
import { amiFindings } from "./verify-ami.ts";
import { disklessTargets, openArtifact } from "./verify-artifact.ts";
import { verifyDisk } from "./verify-disk.ts";
import { firstDifference, type DiskImage, type Finding } from "./verify-image.ts";
import { readRevoked, readTrustedKey } from "./verify-key.ts";
import { checkSboms } from "./verify-sbom.ts";
import { checkCosignSignature, checkProvenance, checkSignature } from "./verify-statements.ts";
import { verifyTool } from "./verify-tools.ts";

/** `skipped`: the caller said so. `not-checked`: it could not be, which is not the same as good. */
export type CheckStatus = "ok" | "failed" | "not-checked" | "skipped";

/** One line of the result. */
export interface VerifyCheck {
  /** What was checked, e.g. `hash`, `root`, `signature`. */
  check: string;
  /** Name of the file in the directory. */
  file: string;
  status: CheckStatus;
  detail: string;
  findings: Finding[];
}

export interface VerifyOptions {
  /** Output directory of a build, or one artifact in it. */
  path: string;
  /** The foundry's public key, or a file with it: signify's format, its base64 line, or PEM. */
  key?: string;
  /** Take the key that is found beside the artifacts for the foundry's. */
  anyKey: boolean;
  /** File with revoked keys, one a line; without: `revoked` in the user's configuration, where it exists. */
  revoked?: string;
  /** Leave the boot image's Secure Boot signature out. */
  withoutAuthenticode: boolean;
  signal: AbortSignal;
}

export interface VerifyResult {
  directory: string;
  cluster?: string;
  /** Of the key that the signature was checked with: sha256 of its SubjectPublicKeyInfo. */
  fingerprint: string;
  checks: VerifyCheck[];
}

/** Notes down what was checked; one line a check. */
interface Notes {
  add(check: string, file: string, detail: string, findings?: readonly Finding[]): void;
  skip(check: string, file: string, status: "not-checked" | "skipped", detail: string): void;
}

/**
 * Checks what a build has put out, with nothing but a public key: the manifest's signature, every file's hash, and
 * every byte of the disk images against the root hash in the signed boot image. All that is wrong is found, not only
 * the first.
 *
 * @throws KubedosError when there is nothing to check: no such path, no manifest, no key
 */
export async function verifyOutput(options: VerifyOptions): Promise<VerifyResult> {
  const { signal } = options;
  const checks: VerifyCheck[] = [];
  const notes: Notes = {
    add: (check, file, detail, findings = []) =>
      checks.push({ check, file, status: findings.length === 0 ? "ok" : "failed", detail, findings: [...findings] }),
    skip: (check, file, status, detail) => checks.push({ check, file, status, detail, findings: [] }),
  };
  // 1. What is to be checked, and whose key.
  const { directory, only } = await locate(options.path);
  const manifestPath = join(directory, manifestFiles.manifest);
  const bytes = await readFile(manifestPath).catch(() => {
    throw new KubedosError("usage", `there is no ${manifestFiles.manifest} in ${directory}`, {
      hint: "name the output directory of a build (out/cluster), or an artifact in it",
    });
  });
  const publicKey = await trust(directory, options, notes);
  const result = { directory, fingerprint: keyFingerprint(publicKey), checks };
  await checkRevoked(directory, publicKey, await readRevoked(options.revoked), notes);
  // 2. The manifest, which vouches for the rest.
  notes.add(
    "signature",
    manifestFiles.manifest,
    "by the foundry's key",
    await checkSignature(directory, bytes, publicKey),
  );
  let manifest: Manifest;
  try {
    manifest = parseManifest(bytes.toString(), manifestFiles.manifest);
  } catch (error) {
    notes.add("format", manifestFiles.manifest, "", [{ structure: "manifest", message: (error as Error).message }]);
    return result;
  }
  // 3. Files.
  const artifacts = manifest.artifacts.filter(({ file }) => only === undefined || file === only);
  if (artifacts.length === 0) {
    throw new KubedosError("usage", `${only ?? directory} is not an artifact of ${manifestPath}`, {
      hint: `artifacts: ${manifest.artifacts.map(({ file }) => file).join(", ")}`,
    });
  }
  for (const item of [...artifacts, ...manifest.documents]) {
    notes.add("hash", item.file, `sha256 and size (${item.sizeBytes} bytes)`, await checkFile(directory, item, signal));
  }
  await checkStrays(directory, manifest, notes);
  notes.add("signature", manifestFiles.cosignSignature, "the same for cosign", await checkCosignSignature(directory));
  notes.add(
    "provenance",
    manifestFiles.provenance,
    "signed by the foundry's key, of exactly these files and inputs",
    await checkProvenance(directory, manifest, bytes, publicKey),
  );
  // 4. Disks.
  const scratch = await mkdtemp(join(tmpdir(), "kubedos-verify-"));
  try {
    for (const image of sealedImages(manifest)) {
      const disks = artifacts.filter(({ target }) => !disklessTargets.includes(target) && image.holds(target));
      await checkDisks(directory, disks, image, publicKey, scratch, options, notes);
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  return { ...result, cluster: manifest.cluster };
}

/** `failed` before `not-checked` before `ok`. */
export function verdict(checks: readonly VerifyCheck[]): "ok" | "failed" | "not-checked" {
  if (checks.some(({ status }) => status === "failed")) return "failed";
  return checks.some(({ status }) => status === "not-checked") ? "not-checked" : "ok";
}

async function locate(path: string): Promise<{ directory: string; only?: string }> {
  const whole = resolve(path);
  const info = await stat(whole).catch(() => undefined);
  if (info === undefined) {
    throw new KubedosError("usage", `there is no ${path}`, { hint: "name an output directory of `kubedos build`" });
  }
  return info.isDirectory() ? { directory: whole } : { directory: dirname(whole), only: basename(whole) };
}

async function trust(directory: string, options: VerifyOptions, notes: Notes): Promise<Buffer> {
  if (options.key !== undefined) {
    const key = await readTrustedKey(options.key);
    notes.add("key", manifestFiles.publicKey, `the given one: ${keyFingerprint(key)}`);
    return key;
  }
  const found = await readTrustedKey(join(directory, manifestFiles.publicKey));
  notes.skip(
    "key",
    manifestFiles.publicKey,
    options.anyKey ? "skipped" : "not-checked",
    `the one beside the artifacts: ${keyFingerprint(found)}`,
  );
  return found;
}

async function checkFile(directory: string, item: ManifestFile, signal: AbortSignal): Promise<Finding[]> {
  const path = join(directory, item.file);
  const info = await stat(path).catch(() => undefined);
  const structure = "file";
  if (info === undefined) return [{ structure, message: "is missing" }];
  if (info.size !== item.sizeBytes) {
    const offsetBytes = Math.min(info.size, item.sizeBytes);
    return [{ structure, offsetBytes, message: `has ${info.size} bytes instead of ${item.sizeBytes}` }];
  }
  if ((await hashFile(path, signal)) === item.sha256) return [];
  return [{ structure, message: "is altered: its sha256 is not the manifest's" }];
}

/** Neither key nor Secure Boot certificate is in the list of revoked ones; without a list nothing is said. */
async function checkRevoked(
  directory: string,
  publicKey: Buffer,
  revoked: Set<string> | undefined,
  notes: Notes,
): Promise<void> {
  if (revoked === undefined) return;
  const { publicKey: keyFile, certificates } = manifestFiles;
  const message = "is revoked: nothing that it signed is to be trusted";
  const say = (file: string, fingerprint: string | undefined) => {
    const findings = fingerprint !== undefined && revoked.has(fingerprint) ? [{ structure: fingerprint, message }] : [];
    notes.add("revoked", file, `not in the list of revoked keys (${revoked.size})`, findings);
  };
  say(keyFile, keyFingerprint(publicKey));
  const certificate = await readFile(join(directory, certificates.db), "utf8").catch(() => undefined);
  say(certificates.db, certificate === undefined ? undefined : safeFingerprint(certificate));
}

/** A damaged certificate is found by its hash. */
function safeFingerprint(pem: string): string | undefined {
  try {
    return certificateFingerprint(pem);
  } catch {
    return undefined;
  }
}

/** A file that the manifest does not name may be an artifact of another build: nothing vouches for it. */
async function checkStrays(directory: string, manifest: Manifest, notes: Notes): Promise<void> {
  const known = new Set([...manifest.artifacts, ...manifest.documents].map(({ file }) => file));
  const { manifest: itself, signature, cosignSignature, provenance } = manifestFiles;
  for (const name of [itself, signature, cosignSignature, provenance]) known.add(name);
  for (const name of (await readdir(directory)).toSorted()) {
    if (!known.has(name))
      notes.skip("listed", name, "not-checked", "the manifest does not name it: nothing vouches for it");
  }
}

async function checkDisks(
  directory: string,
  disks: Manifest["artifacts"],
  { manifest, files }: ImageView,
  publicKey: Buffer,
  scratch: string,
  options: VerifyOptions,
  notes: Notes,
): Promise<void> {
  const { signal } = options;
  // The raw image first where there is one; every other disk must hold the same bytes as the first.
  const rank = (target: string) => (target === "raw" ? 0 : target === "ami" ? 2 : 1);
  if (disks.length === 0) return;
  const order = disks.toSorted((a, b) => rank(a.target) - rank(b.target));
  let first: { file: string; image: DiskImage } | undefined;
  let uki: Buffer | undefined;
  try {
    for (const { target, file } of order) {
      if (target === "ami") {
        const findings = await amiFindings(join(directory, file), first?.image, signal);
        if (findings === undefined)
          notes.skip("plan", file, "not-checked", "no disk to compare it with: build raw too");
        else notes.add("plan", file, `names every block of ${first?.file} that is not empty`, findings);
        continue;
      }
      const own = await mkdtemp(join(scratch, "disk-"));
      let image: DiskImage | undefined;
      try {
        image = await openArtifact(target, join(directory, file), own, manifest, signal);
        if (image === undefined) {
          notes.skip("disk", file, "not-checked", "reading it needs qemu-img: apt-get install qemu-utils");
          continue;
        }
        if (first === undefined) {
          const { checks, uki: found, root } = await verifyDisk(image, manifest, publicKey, signal);
          for (const { name, detail, findings } of checks) notes.add(name, file, detail, findings);
          await checkContents(directory, files, root, notes);
          first = { file, image };
          uki = found;
          continue;
        }
        const offsetBytes = await firstDifference(first.image, image, signal);
        const message = `differs from ${first.file} from here on`;
        const findings = offsetBytes === undefined ? [] : [{ structure: "disk", offsetBytes, message }];
        notes.add("disk", file, `same bytes as ${first.file}`, findings);
      } catch (error) {
        signal.throwIfAborted();
        notes.add("disk", file, "", [{ structure: "disk", message: (error as Error).message }]);
      } finally {
        if (image !== first?.image) await image?.close();
      }
    }
  } finally {
    await first?.image.close();
  }
  await checkAuthenticode(directory, first?.file ?? "", uki, manifest, scratch, options, notes);
}

/** The bills of materials against what is in the root. */
async function checkContents(
  directory: string,
  { cyclonedx, spdx }: ImageView["files"],
  root: Buffer | undefined,
  notes: Notes,
): Promise<void> {
  const detail = "the packages that dpkg lists in the root, and the bytes of its files";
  if (root === undefined) {
    for (const name of [cyclonedx, spdx]) notes.skip("contents", name, "not-checked", "the root is not whole");
    return;
  }
  for (const [name, findings] of Object.entries(await checkSboms(directory, { cyclonedx, spdx }, openErofs(root)))) {
    notes.add("contents", name, detail, findings);
  }
}

async function checkAuthenticode(
  directory: string,
  file: string,
  uki: Buffer | undefined,
  manifest: Manifest,
  scratch: string,
  options: VerifyOptions,
  notes: Notes,
): Promise<void> {
  const name = "Secure Boot";
  if (options.withoutAuthenticode)
    return notes.skip(name, file, "skipped", "signature of the boot image (--without-authenticode)");
  if (uki === undefined) return notes.skip(name, file, "not-checked", "no boot image to check");
  const tool = await verifyTool("sbverify", manifest, options.signal);
  if (tool === undefined) {
    const how = "needs sbverify: apt-get install sbsigntool, or --without-authenticode to do without";
    return notes.skip(name, file, "not-checked", how);
  }
  const image = join(scratch, "boot.efi");
  await writeFile(image, uki);
  const { db } = manifestFiles.certificates;
  const { status, text } = await tool({
    args: (input) => ["--cert", input("certificate"), input("image")],
    inputs: { certificate: join(directory, db), image },
    out: await mkdtemp(join(scratch, "out-")),
  });
  const findings =
    status === 0 ? [] : [{ structure: "boot image, signature", message: text.trim().replaceAll("\n", "; ") }];
  notes.add(name, file, `boot image signed with ${db} (sbverify)`, findings);
}

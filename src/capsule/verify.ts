import { readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { lockedObjects } from "../lock/objects.ts";
import { parseLock } from "../lock/file.ts";
import type { VerifyCheck } from "../seal/verify.ts";
import type { Finding } from "../seal/verify-image.ts";
import { readTrustedKey } from "../seal/verify-key.ts";
import { hashFile } from "../store/store.ts";
import { signifyPublicKey, signifyVerify } from "../vault/signify.ts";
import { capsuleFiles, capsuleFolders, parseIndex, readIndex, safePath, type CapsuleIndex } from "./format.ts";

/** How a capsule is checked beside its artifacts. */
export interface CapsuleVerifyOptions {
  /** The foundry's public key, or a file with it. */
  key?: string;
  /** Take the key that lies beside the artifacts for the foundry's. */
  anyKey: boolean;
  signal: AbortSignal;
}

/**
 * Checks every file of a capsule against its list, the list against the signature, and the lock's inputs against both.
 * Everything that is wrong is found and named: altered, cut, missing, added.
 *
 * @throws KubedosError when the directory is no capsule, or of a newer format
 */
export async function verifyCapsule(directory: string, options: CapsuleVerifyOptions): Promise<VerifyCheck[]> {
  const checks: VerifyCheck[] = [];
  const add = (check: string, file: string, detail: string, findings: Finding[] = []) =>
    checks.push({ check, file, status: findings.length === 0 ? "ok" : "failed", detail, findings });
  await refuseNewer(directory);
  // 1. Who made the list.
  const sums = await readFile(join(directory, capsuleFiles.sums)).catch(() => Buffer.alloc(0));
  const own = join(directory, capsuleFolders.artifacts, "foundry.pub");
  if (options.key === undefined) {
    const status = options.anyKey ? "skipped" : "not-checked";
    checks.push({ check: "key", file: "foundry.pub", status, detail: "the one in the capsule", findings: [] });
  }
  add(
    "signature",
    capsuleFiles.sums,
    "by the foundry's key",
    await checkSignature(directory, sums, options.key ?? own),
  );
  // 2. Every file that is listed, and none that is not.
  const listed = parseSums(sums.toString());
  let bytes = 0;
  for (const [path, sha256] of listed) {
    options.signal.throwIfAborted();
    const info = await stat(join(directory, path)).catch(() => undefined);
    bytes += info?.size ?? 0;
    const findings = await checkFile(directory, path, sha256, info?.size, options.signal);
    if (findings.length > 0) add("hash", path, "", findings);
  }
  const bad = checks.filter(({ check }) => check === "hash").length;
  if (bad === 0) add("hash", capsuleFiles.sums, `${listed.size} files, ${bytes} bytes`);
  for (const path of await strays(directory, listed)) {
    add("listed", path, "", [{ structure: "file", message: "is not listed: nothing vouches for it" }]);
  }
  // 3. The index says the same, and the lock's inputs are all there.
  add("index", capsuleFiles.index, "names the same files", await checkIndex(directory, listed));
  return checks;
}

/** A newer format is said before anything else: its files may be other ones. */
async function refuseNewer(directory: string): Promise<void> {
  const path = join(directory, capsuleFiles.index);
  const text = await readFile(path, "utf8").catch(() => undefined);
  if (text === undefined) {
    await readIndex(directory);
    return;
  }
  const format = /^\{\s*"format": (\d+)/.exec(text)?.[1];
  if (format !== undefined && Number(format) > 1) parseIndex(`{"format":${format}}`, capsuleFiles.index);
}

async function checkSignature(directory: string, sums: Buffer, key: string): Promise<Finding[]> {
  const bad = (structure: string, message: string): Finding[] => [{ structure, message }];
  try {
    const signature = await readFile(join(directory, capsuleFiles.signature), "utf8");
    const outcome = signifyVerify(signifyPublicKey(await readTrustedKey(key)), sums, signature);
    if (outcome === "valid") return [];
    return outcome === "foreign"
      ? bad(capsuleFiles.signature, "is by another key")
      : bad(capsuleFiles.sums, "is not what was signed: the list or its signature is altered");
  } catch (error) {
    return bad(capsuleFiles.signature, (error as Error).message);
  }
}

async function checkFile(
  directory: string,
  path: string,
  sha256: string,
  sizeBytes: number | undefined,
  signal: AbortSignal,
): Promise<Finding[]> {
  const structure = "file";
  if (sizeBytes === undefined) return [{ structure, message: "is missing" }];
  const actual = await hashFile(join(directory, path), signal).catch((error: Error) => error.message);
  if (actual === sha256) return [];
  const object = /([0-9a-f]{64})$/.exec(path)?.[1];
  const what = object === undefined ? "is altered" : "is altered: an input of the lock";
  return [{ structure, message: `${what}: sha256 ${actual.slice(0, 16)}… instead of ${sha256.slice(0, 16)}…` }];
}

/** Path → sha256 of a `sha256sum` list; lines that are none are left out, and the signature fails then. */
export function parseSums(text: string): Map<string, string> {
  const listed = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, sha256, path] = /^([0-9a-f]{64}) {2}(.+)$/.exec(line) ?? [];
    if (sha256 !== undefined && path !== undefined && safePath.test(path)) listed.set(path, sha256);
  }
  return listed;
}

async function strays(directory: string, listed: ReadonlyMap<string, string>, below = ""): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(join(directory, below), { withFileTypes: true })) {
    const path = `${below}${entry.name}`;
    if (entry.isDirectory()) found.push(...(await strays(directory, listed, `${path}/`)));
    else if (!listed.has(path) && path !== capsuleFiles.sums && path !== capsuleFiles.signature) found.push(path);
  }
  return found.toSorted();
}

async function checkIndex(directory: string, listed: ReadonlyMap<string, string>): Promise<Finding[]> {
  const findings: Finding[] = [];
  let index: CapsuleIndex;
  try {
    index = await readIndex(directory);
  } catch (error) {
    return [{ structure: "index", message: (error as Error).message }];
  }
  for (const { path, sha256 } of index.files) {
    if (listed.get(path) !== sha256) findings.push({ structure: path, message: `is not so in ${capsuleFiles.sums}` });
  }
  const lockPath = `${capsuleFolders.spec}/${index.spec}.lock`;
  try {
    const lock = parseLock(await readFile(join(directory, lockPath), "utf8"), lockPath);
    for (const { sha256, name, version } of lockedObjects(lock)) {
      if (listed.has(`${capsuleFolders.store}/${sha256.slice(0, 2)}/${sha256}`)) continue;
      findings.push({ structure: lockPath, message: `${name} ${version} is not in the capsule` });
    }
  } catch (error) {
    findings.push({ structure: lockPath, message: (error as Error).message });
  }
  return findings;
}

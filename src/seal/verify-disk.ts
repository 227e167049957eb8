import { createHash } from "node:crypto";
import type { Partition } from "../targets/gpt.ts";
import { gptTailBytes } from "../targets/gpt.ts";
import { parseSignifyPublicKey } from "../vault/signify.ts";
import type { Manifest } from "./manifest.ts";
import { bootPaths, readBootFile } from "./verify-fat.ts";
import { checkPartitions, verifyGpt } from "./verify-gpt.ts";
import { firstNonZero, type DiskImage, type Finding } from "./verify-image.ts";
import { readUki, verifyUki, type BootImage } from "./verify-uki.ts";
import { verifyVerity } from "./verify-verity.ts";

/** One thing that was looked at on a disk. */
export interface DiskCheck {
  name: string;
  /** What was compared, for people. */
  detail: string;
  findings: Finding[];
}

const headBytes = 34 * 512;

/**
 * Looks at every byte of a disk: partition table, boot partition and boot image, cluster layer, root and hash tree, and
 * that the rest is empty. Offsets of findings are bytes of the disk. Hands out the boot image
 * for its signature check, and the root, where it is whole, to be looked into.
 */
export async function verifyDisk(
  image: DiskImage,
  manifest: Manifest,
  publicKey: Uint8Array,
  signal: AbortSignal,
): Promise<{ checks: DiskCheck[]; uki?: Buffer; root?: Buffer }> {
  const checks: DiskCheck[] = [];
  const { rootHash } = manifest.platform;
  // 1. Partition table.
  const { partitions, findings } = await verifyGpt(image);
  const named = partitions.length > 0 ? checkPartitions(partitions, rootHash) : [];
  checks.push({ name: "partition table", detail: "both copies, names and ids", findings: [...findings, ...named] });
  const [esp, root, tree] = partitions;
  if (esp === undefined || root === undefined || tree === undefined || outside(image, partitions)) {
    const message = "not all of its partitions can be found";
    checks.push({ name: "partitions", detail: "", findings: [{ structure: "disk", message }] });
    return { checks };
  }
  // 2. Boot partition and boot image.
  const espBytes = await image.read(esp.firstByte, esp.sizeBytes);
  const boot = readBoot(espBytes, manifest);
  checks.push({
    name: "boot partition",
    detail: `${"path" in boot ? boot.path : bootPaths.first}, its sections, the file system around it`,
    findings: checkEsp(espBytes, boot, manifest).map(atPartition(esp)),
  });
  checks.push({
    name: "boot image",
    detail: "root hash and cluster layer in it",
    findings: checkBoot(boot, manifest, publicKey),
  });
  // 3. Root against hash tree against the root hash that the boot image, and so its signature, names.
  const { blocks, salt } = "contents" in boot ? boot.contents.root : { blocks: 0, salt: "" };
  if (blocks > 0 && fits(blocks, root, tree)) {
    const layout = { dataAt: root.firstByte, treeAt: tree.firstByte, blocks, rootHash, salt };
    const detail = `${blocks} blocks against the hash tree and ${rootHash.slice(0, 16)}…`;
    checks.push({ name: "root", detail, findings: await verifyVerity(image, layout, signal) });
  } else {
    const message = "the boot image does not say how many blocks the root has";
    checks.push({ name: "root", detail: "", findings: [{ structure: "root", message }] });
  }
  // 4. Nothing else is on the disk.
  const gaps = [
    [headBytes, esp.firstByte],
    [esp.firstByte + manifest.boot.esp.sizeBytes, root.firstByte],
    [root.firstByte + manifest.platform.root.sizeBytes, tree.firstByte],
    [tree.firstByte + manifest.platform.verity.sizeBytes, image.sizeBytes - gptTailBytes],
  ] as const;
  const unused: Finding[] = [];
  for (const [from, to] of gaps) {
    const offsetBytes = await firstNonZero(image, from, to, signal);
    if (offsetBytes !== undefined) unused.push({ structure: "unused space", offsetBytes, message: "is not empty" });
  }
  checks.push({ name: "unused space", detail: "zeros between and after the partitions", findings: unused });
  const sealed = checks.find(({ name }) => name === "root")?.findings.length === 0;
  return {
    checks,
    uki: "uki" in boot ? boot.uki : undefined,
    root: sealed ? await image.read(root.firstByte, manifest.platform.root.sizeBytes) : undefined,
  };
}

type Boot =
  | { path: string; uki: Buffer; ukiAt: number; contents: BootImage }
  | { path: string; uki: Buffer; ukiAt: number; error: string }
  | { error: string };

function readBoot(esp: Buffer, manifest: Manifest): Boot {
  let uki: Buffer;
  let ukiAt: number;
  let path: string = bootPaths.first;
  try {
    const file = readBootFile(esp);
    path = file.path;
    ukiAt = file.firstByte;
    uki = esp.subarray(ukiAt, ukiAt + file.sizeBytes);
  } catch (error) {
    return { error: `${path} cannot be read: ${(error as Error).message}` };
  }
  try {
    return { path, uki, ukiAt, contents: readUki(uki, manifest.boot.layer.sizeBytes) };
  } catch (error) {
    return { path, uki, ukiAt, error: (error as Error).message };
  }
}

/** Offsets are into the partition. */
function checkEsp(esp: Buffer, boot: Boot, manifest: Manifest): Finding[] {
  const wanted = manifest.boot.esp;
  if (sha256(esp.subarray(0, wanted.sizeBytes)) === wanted.sha256) return [];
  if (!("uki" in boot)) return [{ structure: "boot partition, file system", offsetBytes: 0, message: boot.error }];
  const inImage = verifyUki(boot.uki, manifest);
  if (inImage.length > 0) {
    return inImage.map((one) => ({ ...one, offsetBytes: boot.ukiAt + (one.offsetBytes ?? 0) }));
  }
  const message = "tables, directory or space around the boot image are altered";
  return [{ structure: "boot partition, file system", offsetBytes: 0, message }];
}

function checkBoot(boot: Boot, manifest: Manifest, publicKey: Uint8Array): Finding[] {
  if (!("contents" in boot)) return [{ structure: "boot image", message: boot.error }];
  const { root, layer } = boot.contents;
  const findings: Finding[] = [];
  const expect = (structure: string, holds: boolean, message: string) => {
    if (!holds) findings.push({ structure, message });
  };
  expect("boot image, command line", root.rootHash === manifest.platform.rootHash, "names another root hash");
  expect(
    "cluster layer, foundry.pub",
    hasKey(layer.get("foundry.pub"), seedKey(manifest) ?? publicKey),
    "is not the key of this foundry",
  );
  expect(
    "cluster layer, cluster.json",
    clusterOf(layer.get("cluster.json")) === manifest.cluster,
    `is not of the cluster ${manifest.cluster}`,
  );
  return findings;
}

/** The key that checks seeds, where it is not the one that signed the manifest. */
function seedKey({ seedKey: line }: Manifest): Buffer | undefined {
  return line === undefined ? undefined : parseSignifyPublicKey(`untrusted comment: key\n${line}\n`).publicKey;
}

function hasKey(text: string | undefined, publicKey: Uint8Array): boolean {
  try {
    return parseSignifyPublicKey(text ?? "").publicKey.equals(publicKey);
  } catch {
    return false;
  }
}

function clusterOf(text: string | undefined): unknown {
  try {
    return (JSON.parse(text ?? "") as { cluster?: unknown }).cluster;
  } catch {
    return undefined;
  }
}

function atPartition(partition: Partition): (finding: Finding) => Finding {
  return (finding) => ({ ...finding, offsetBytes: partition.firstByte + (finding.offsetBytes ?? 0) });
}

function outside(image: DiskImage, partitions: readonly Partition[]): boolean {
  return partitions.some(({ firstByte, sizeBytes }) => sizeBytes <= 0 || firstByte + sizeBytes > image.sizeBytes);
}

/** Whether data and tree of so many blocks are inside of their partitions. */
function fits(blocks: number, root: Partition, tree: Partition): boolean {
  let treeBlocks = 0;
  for (let below = blocks, first = true; below > 1 || first; first = false)
    treeBlocks += below = Math.ceil(below / 128);
  return blocks * 4096 <= root.sizeBytes && treeBlocks * 4096 <= tree.sizeBytes;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

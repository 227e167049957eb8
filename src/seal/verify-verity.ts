import { hash } from "node:crypto";
import { differenceIn, type DiskImage, type Finding } from "./verify-image.ts";

/** Where a root and its hash tree are on a disk, and what they must come to. */
export interface VerityLayout {
  /** First bytes of data and tree. */
  dataAt: number;
  treeAt: number;
  /** Data blocks of 4096 bytes. */
  blocks: number;
  rootHash: string;
  salt: string;
}

const blockBytes = 4096;
const digestBytes = 32;
const digestsPerBlock = blockBytes / digestBytes;
const chunkBlocks = 1024;
/** More than this would tell a person nothing new. */
const maxFindings = 8;

/**
 * Reads every block of the root and every block of its dm-verity hash tree (hash type 1, no superblock, top level
 * first) and says which do not belong to the root hash. A block of the tree that its parent does not vouch for is
 * compared with what the level below comes to, so its damaged byte is known exactly; of a data block, its offset.
 * https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity
 */
export async function verifyVerity(image: DiskImage, layout: VerityLayout, signal: AbortSignal): Promise<Finding[]> {
  const salt = Buffer.from(layout.salt, "hex");
  const findings: Finding[] = [];
  const report = (finding: Finding) => findings.length < maxFindings && findings.push(finding);

  // 1. Where the levels are: each holds one digest for a block of the one below; the topmost is one block.
  const sizes: number[] = [];
  for (let below = layout.blocks; below > 1 || sizes.length === 0;) {
    below = Math.ceil(below / digestsPerBlock);
    sizes.push(below);
  }
  const starts: number[] = Array.from(sizes, () => 0);
  for (let level = sizes.length - 1, at = layout.treeAt; level >= 0; level--) {
    starts[level] = at;
    at += sizes[level]! * blockBytes;
  }

  // 2. Bottom up: what each level ought to be from the one below, against what is stored.
  const leaves = await digests(image, layout.dataAt, layout.blocks, salt, signal);
  const stored = await Promise.all(sizes.map((size, level) => image.read(starts[level]!, size * blockBytes)));
  const inTree: Finding[] = [];
  const damagedLeaves = new Set<number>();
  let expected = leaves;
  for (const [level, bytes] of stored.entries()) {
    const top = level === sizes.length - 1;
    const above = top ? Buffer.from(layout.rootHash, "hex") : stored[level + 1]!;
    const actual = await digests(image, starts[level]!, sizes[level]!, salt, signal);
    const computed = Buffer.alloc(bytes.length);
    expected.copy(computed);
    for (let block = 0; block < sizes[level]!; block++) {
      const digest = [block * digestBytes, (block + 1) * digestBytes] as const;
      if (actual.subarray(...digest).equals(above.subarray(...digest))) continue;
      const range = [block * blockBytes, (block + 1) * blockBytes] as const;
      const at = differenceIn(bytes.subarray(...range), computed.subarray(...range));
      if (at === undefined && !top) continue; // its parent is what is damaged
      if (level === 0) damagedLeaves.add(block);
      inTree.push({
        structure: `hash tree, level ${level}`,
        offsetBytes: starts[level]! + range[0] + (at ?? 0),
        message: at === undefined ? "the tree is of another root hash" : "differs from what the level below comes to",
      });
    }
    expected = actual;
  }

  // 3. Data blocks against their leaves; where the leaf itself is damaged, its own finding says so.
  for (let block = 0; block < layout.blocks; block++) {
    const digest = [block * digestBytes, (block + 1) * digestBytes] as const;
    if (stored[0]!.subarray(...digest).equals(leaves.subarray(...digest))) continue;
    if (damagedLeaves.has(Math.floor(block / digestsPerBlock))) continue;
    const offsetBytes = layout.dataAt + block * blockBytes;
    report({ structure: "root", offsetBytes, message: `block ${block} (4096 bytes) is altered` });
  }
  inTree.forEach(report);
  return findings;
}

async function digests(
  image: DiskImage,
  at: number,
  blocks: number,
  salt: Buffer,
  signal: AbortSignal,
): Promise<Buffer> {
  const result = Buffer.alloc(blocks * digestBytes);
  for (let first = 0; first < blocks; first += chunkBlocks) {
    signal.throwIfAborted();
    const count = Math.min(chunkBlocks, blocks - first);
    const bytes = await image.read(at + first * blockBytes, count * blockBytes);
    for (let index = 0; index < count; index++) {
      digest(salt, bytes.subarray(index * blockBytes, (index + 1) * blockBytes)).copy(
        result,
        (first + index) * digestBytes,
      );
    }
  }
  return result;
}

const scratch = Buffer.alloc(256 + blockBytes);

function digest(salt: Buffer, block: Buffer): Buffer {
  salt.copy(scratch);
  block.copy(scratch, salt.length);
  return hash("sha256", scratch.subarray(0, salt.length + block.length), "buffer");
}

import { createHash } from "node:crypto";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import type { Stage } from "../assemble/engine.ts";
import { isZero, readChunks } from "./chunks.ts";

/** EBS direct APIs move snapshots in blocks of this size. */
export const ebsBlockBytes = 512 * 1024;
const gibibyte = 1024 ** 3;

const sha256Base64 = z.string().regex(/^[A-Za-z0-9+/]{43}=$/);

/**
 * Everything about an Amazon machine image that does not depend on an account: which blocks of the raw image are
 * uploaded, with their checksums, and how the image is registered. `kubedos ami push` follows it.
 *
 * @see https://docs.aws.amazon.com/ebs/latest/APIReference/API_PutSnapshotBlock.html
 */
export const amiPlanSchema = z.strictObject({
  format: z.literal(1),
  /** The raw image that the blocks are taken from. */
  raw: z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/), sizeBytes: z.int().min(512) }),
  volumeGiB: z.int().min(1),
  blockBytes: z.literal(ebsBlockBytes),
  /** Blocks with anything but zeros: index, SHA-256 in base64. The last one is filled up with zeros. */
  blocks: z.array(z.tuple([z.int().min(0), sha256Base64])).min(1),
  /** SHA-256 over the blocks' checksums in order: what CompleteSnapshot calls linear aggregation. */
  checksum: sha256Base64,
  register: z.strictObject({
    architecture: z.literal("x86_64"),
    bootMode: z.literal("uefi"),
    tpmSupport: z.literal("v2.0"),
    imdsSupport: z.literal("v2.0"),
    enaSupport: z.literal(true),
    virtualizationType: z.literal("hvm"),
    rootDeviceName: z.literal("/dev/xvda"),
    /** UEFI variables with the foundry's Secure Boot keys, in EC2's format (base64). */
    uefiData: z.string().min(1),
  }),
});

export type AmiPlan = z.infer<typeof amiPlanSchema>;

/** The plan of a raw image. */
export async function planAmi(raw: string, uefiData: string, signal: AbortSignal): Promise<AmiPlan> {
  const whole = createHash("sha256");
  const aggregate = createHash("sha256");
  const blocks: AmiPlan["blocks"] = [];
  const { size: sizeBytes } = await stat(raw);
  for await (const { firstByte, bytes } of readChunks(raw, ebsBlockBytes, signal)) {
    whole.update(bytes);
    if (isZero(bytes)) continue;
    const digest = createHash("sha256").update(wholeBlock(bytes)).digest();
    aggregate.update(digest);
    blocks.push([firstByte / ebsBlockBytes, digest.toString("base64")]);
  }
  return {
    format: 1,
    raw: { sha256: whole.digest("hex"), sizeBytes },
    volumeGiB: Math.ceil(sizeBytes / gibibyte),
    blockBytes: ebsBlockBytes,
    blocks,
    checksum: aggregate.digest("base64"),
    register: {
      architecture: "x86_64",
      bootMode: "uefi",
      tpmSupport: "v2.0",
      imdsSupport: "v2.0",
      enaSupport: true,
      virtualizationType: "hvm",
      rootDeviceName: "/dev/xvda",
      uefiData,
    },
  };
}

/** A block as it is uploaded: a short last one is filled up with zeros. */
export function wholeBlock(bytes: Uint8Array): Uint8Array {
  return bytes.length === ebsBlockBytes ? bytes : Buffer.concat([bytes, Buffer.alloc(ebsBlockBytes - bytes.length)]);
}

/** The target `ami`: one JSON document beside the raw image. */
export function amiStage(raw: Stage, firmware: Stage): Stage {
  return {
    name: "ami",
    version: "1",
    options: {},
    inputs: { raw: { stage: raw, output: "image" }, uefi: { stage: firmware, output: "aws" } },
    outputs: ["image"],
    async run(work) {
      const uefiData = (await readFile(work.inputs["uefi"]!, "utf8")).replaceAll(/\s/g, "");
      const plan = await planAmi(work.inputs["raw"]!, uefiData, work.signal);
      await writeFile(join(work.out, "image"), `${JSON.stringify(plan)}\n`);
    },
  };
}

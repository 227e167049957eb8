import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { amiPlanSchema, wholeBlock } from "../targets/ami.ts";
import { isZero } from "../targets/chunks.ts";
import type { DiskImage } from "./verify-image.ts";
import type { Finding } from "./verify-image.ts";

/**
 * Compares the plan of an Amazon machine image with the disk: each block that is not empty is named with its checksum,
 * and no other. Undefined where there is no disk.
 */
export async function amiFindings(
  file: string,
  image: DiskImage | undefined,
  signal: AbortSignal,
): Promise<Finding[] | undefined> {
  if (image === undefined) return undefined;
  const plan = amiPlanSchema.parse(JSON.parse(await readFile(file, "utf8")));
  const planned = new Map(plan.blocks);
  const findings: Finding[] = [];
  if (plan.raw.sizeBytes !== image.sizeBytes) {
    findings.push({ structure: "plan", message: `is of ${plan.raw.sizeBytes} bytes, the disk has ${image.sizeBytes}` });
  }
  const aggregate = createHash("sha256");
  for (let index = 0; index * plan.blockBytes < image.sizeBytes; index++) {
    signal.throwIfAborted();
    const offsetBytes = index * plan.blockBytes;
    const bytes = await image.read(offsetBytes, Math.min(plan.blockBytes, image.sizeBytes - offsetBytes));
    const checksum = isZero(bytes) ? undefined : createHash("sha256").update(wholeBlock(bytes)).digest("base64");
    if (checksum !== undefined) aggregate.update(Buffer.from(checksum, "base64"));
    if (planned.get(index) !== checksum) {
      findings.push({ structure: `block ${index}`, offsetBytes, message: "is not what the plan says" });
    }
  }
  if (aggregate.digest("base64") !== plan.checksum) {
    findings.push({ structure: "plan", message: "its checksum over all blocks is wrong" });
  }
  return findings;
}

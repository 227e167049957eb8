import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Stage } from "../../assemble/engine.ts";
import { type addSignature, attachSignature, authenticodeMessage, authenticodeSignature } from "../authenticode.ts";
import type { Sign } from "../signer.ts";

/**
 * The boot image with its Secure Boot signature, `attach`: added to those that it has. The id covers certificate and signing time, not who holds the key:
 * signatures are deterministic.
 */
export function signStage(
  uki: Stage,
  certificate: { sha256: string },
  epoch: number,
  sign: Sign,
  name = "sign",
  attach: typeof attachSignature | typeof addSignature = attachSignature,
): Stage {
  return {
    name,
    version: "3",
    options: { epoch },
    inputs: { unsigned: { stage: uki, output: "unsigned" }, certificate },
    outputs: ["uki", "signature"],
    async run(work) {
      const image = await readFile(work.inputs["unsigned"]!);
      const certificatePem = await readFile(work.inputs["certificate"]!, "utf8");
      const raw = await sign(authenticodeMessage(image, epoch));
      const signature = authenticodeSignature(image, certificatePem, epoch, raw);
      await writeFile(join(work.out, "signature"), signature);
      await writeFile(join(work.out, "uki"), attach(image, signature));
    },
  };
}

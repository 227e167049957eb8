import { createHash } from "node:crypto";
import { stageId, type Stage } from "../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../assemble/tools.ts";
import { espStage } from "../seal/stages/esp.ts";
import type { Shim } from "../seal/stages/shim.ts";
import { writerStage } from "../seal/stages/writer.ts";
import type { Spec } from "../spec/types.ts";
import { guidFromHash } from "./gpt.ts";

/** What an installation medium is made from, besides the sealed image. */
export interface MediumParts {
  /** The raw image compressed, with its hash. */
  compressed: Stage;
  /** Kernel and initrd of the writer. */
  initrd: Stage;
  /** Archive of `writerFiles`. */
  files: { sha256: string };
  /** Signs a boot image for Secure Boot; its output is called `uki`. */
  sign(bootImage: Stage, name: string): Stage;
  /** What firmware starts first. */
  shim?: Shim;
  name: string;
  nodes: number;
  /** A tar of the package repository, for media that carry it. */
  darksite?: Stage;
}

/** iso: starts from CD and from a stick, by BIOS and by UEFI, and writes the sealed image to the machine's disk. */
export function isoStage(tools: Tools, parts: { root: Stage; raw: Stage; medium: MediumParts }): Stage {
  const { root, raw, medium } = parts;
  const { compressed, initrd } = medium;
  // A seed has some 30 KiB.
  const seedsMib = Math.max(2, Math.ceil(medium.nodes / 16));
  const writer = writerStage(tools, {
    root,
    raw,
    compressed,
    initrd,
    files: medium.files,
    name: medium.name,
    from: "medium",
  });
  const partition = espStage(tools, writer, medium.sign(writer, "writer"), "medium", "", medium.shim);
  return {
    name: "iso",
    version: scriptVersion(tools, "iso.sh"),
    options: { epoch: tools.epoch, seedsMib },
    inputs: {
      esp: { stage: partition, output: "esp" },
      vmlinuz: { stage: initrd, output: "vmlinuz" },
      initrd: { stage: initrd, output: "initrd" },
      layer: { stage: writer, output: "layer" },
      zst: { stage: compressed, output: "zst" },
      sum: { stage: compressed, output: "sum" },
      ...(medium.darksite === undefined ? {} : { darksite: { stage: medium.darksite, output: "image" } }),
    },
    outputs: ["image"],
    async run(work) {
      const id = createHash("sha256").update(stageId(writer)).digest("hex");
      await runScript(tools, work, "iso.sh", [
        "KUBEDOS",
        guidFromHash(id).replaceAll("-", "").toLowerCase(),
        String(seedsMib),
      ]);
    },
  };
}

/** What the writer is told: the spec's policy for disks, the nodes, how to know their machines, whom to trust. */
export function writerFiles(
  spec: Spec,
  layer: readonly { path: string; content: string | Uint8Array }[],
  scripts: readonly { path: string; content: string }[],
): { path: string; content: string | Uint8Array }[] {
  const hardware = spec.nodes.flatMap((node) =>
    Object.entries(node.hardware ?? {})
      // A TPM's key is beside the seed that it opens: a medium fits before it is known.
      .filter(([kind]) => kind !== "tpm")
      .map(([kind, value]) => `${node.name} ${kind} ${value}\n`),
  );
  const trusted = layer.filter(({ path }) => ["foundry.pub", "cluster-id", "nodes"].includes(path));
  return [
    ...trusted,
    ...scripts,
    { path: "policy", content: policyText(spec) },
    { path: "hardware", content: hardware.join("") },
  ];
}

/** The spec's policy for disks as node/writer/disk reads it. */
export function policyText(spec: Pick<Spec, "install">): string {
  const { disk, wipe, server } = spec.install;
  const policy = {
    want_serial: disk.serial ?? "",
    want_path: disk.path ?? "",
    min_gib: String(disk.minGiB ?? ""),
    max_gib: String(disk.maxGiB ?? ""),
    wipe: wipe ? "yes" : "no",
    want_server: server ?? "",
  };
  return Object.entries(policy)
    .map(([key, value]) => `${key}='${value}'\n`)
    .join("");
}

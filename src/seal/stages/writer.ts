import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Stage } from "../../assemble/engine.ts";
import { runScript, scriptVersion, type Tools } from "../../assemble/tools.ts";
import { writeCpio } from "../cpio.ts";
import { buildUki, ukiStub } from "../uki.ts";

const commandLine = "console=tty0 console=ttyS0,115200 quiet loglevel=4 panic=30 -- kubedos.writer";

/** The raw image compressed, and the sha256 of what it unpacks to. Passes on `sha256` and `size`. */
export function compressStage(tools: Tools, raw: Stage): Stage {
  return {
    name: "compress",
    version: scriptVersion(tools, "compress.sh"),
    options: {},
    inputs: { raw: { stage: raw, output: "image" } },
    outputs: ["zst", "sum"],
    run: (work) => runScript(tools, work, "compress.sh"),
  };
}

/** What the writer is made from. `files` is an archive of its scripts and of what the spec says. */
export interface WriterInputs {
  root: Stage;
  raw: Stage;
  compressed: Stage;
  initrd: Stage;
  files: { sha256: string };
  /** Name of the cluster, for people. */
  name: string;
  /** Where the writer takes the image from: a part of node/writer/. */
  from: "medium" | "network";
}

/**
 * The unsigned boot image of the image writer. It holds the hash of the image that it is to write, so its signature
 * vouches for what lands on the disk. `layer` is the last part of its initrd, for starts by BIOS.
 */
export function writerStage(tools: Tools, { root, raw, compressed, initrd, files, name, from }: WriterInputs): Stage {
  return {
    name: from === "medium" ? "writer" : "netboot-writer",
    version: `1 ${tools.foundry.id}`,
    options: { commandLine, epoch: tools.epoch, name, from },
    inputs: {
      osrel: { stage: root, output: "osrel" },
      vmlinuz: { stage: initrd, output: "vmlinuz" },
      initrd: { stage: initrd, output: "initrd" },
      image: { stage: raw, output: "image" },
      sum: { stage: compressed, output: "sum" },
      files,
    },
    outputs: ["unsigned", "layer"],
    async run(work) {
      const { sha256, size } = work.meta[compressed.name]!;
      const short = String(work.meta[root.name]?.["roothash"] ?? sha256).slice(0, 16);
      const facts = { from, name, size, sha256, short, seed_at: work.meta[raw.name]!["seedAt"] };
      const text = Object.entries(facts).map(([key, value]) => `${key}='${value}'\n`);
      const entry = { path: "kubedos/writer/facts", mode: 0o644, content: Buffer.from(text.join("")) };
      const layer = Buffer.concat([
        await readFile(work.inputs["files"]!),
        writeCpio([entry], tools.epoch, { directories: true }),
      ]);
      const base = await readFile(work.inputs["initrd"]!);
      const padding = Buffer.alloc((4 - (base.length % 4)) % 4);
      const image = buildUki(await readFile(join(tools.foundry.directory, ukiStub)), [
        { name: ".osrel", content: await readFile(work.inputs["osrel"]!) },
        { name: ".cmdline", content: Buffer.from(commandLine) },
        { name: ".uname", content: Buffer.from(String(work.meta[initrd.name]!["uname"])) },
        { name: ".initrd", content: Buffer.concat([base, padding, layer]) },
        { name: ".linux", content: await readFile(work.inputs["vmlinuz"]!) },
      ]);
      await writeFile(join(work.out, "unsigned"), image);
      await writeFile(join(work.out, "layer"), layer);
    },
  };
}

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Stage } from "../../assemble/engine.ts";
import type { Tools } from "../../assemble/tools.ts";
import { buildUki, ukiStub } from "../uki.ts";

/**
 * Kernel command line of the sealed platform, without the root's own words. These come after `--`: what firmware tables
 * append (systemd-stub(7)) is then no parameter of the kernel, and the initrd, which reads it all, stops.
 */
export const commandLine: readonly string[] = [
  "console=ttyS0",
  "quiet",
  "loglevel=4",
  "systemd.show_status=0",
  "systemd.gpt_auto=0",
  "systemd.firstboot=off",
  "systemd.ssh_auto=no",
  "panic=30",
];

/** The unsigned unified kernel image: kernel, initrd with the cluster layer, and the root hash on the command line. */
export function ukiStage(tools: Tools, root: Stage, initrd: Stage, layer: { sha256: string }, suffix = ""): Stage {
  return {
    name: `uki${suffix}`,
    version: `1 ${tools.foundry.id}`,
    options: { commandLine },
    inputs: {
      osrel: { stage: root, output: "osrel" },
      vmlinuz: { stage: initrd, output: "vmlinuz" },
      initrd: { stage: initrd, output: "initrd" },
      layer,
    },
    outputs: ["unsigned", "cmdline"],
    async run(work) {
      const { roothash, blocks, salt } = work.meta[root.name]!;
      const cmdline = [...commandLine, "--", `kubedos.root=${blocks}:${roothash}:${salt}`].join(" ");
      const base = await readFile(work.inputs["initrd"]!);
      const padding = Buffer.alloc((4 - (base.length % 4)) % 4);
      const image = buildUki(await readFile(join(tools.foundry.directory, ukiStub)), [
        { name: ".osrel", content: await readFile(work.inputs["osrel"]!) },
        { name: ".cmdline", content: Buffer.from(cmdline) },
        { name: ".uname", content: Buffer.from(String(work.meta[initrd.name]!["uname"])) },
        { name: ".initrd", content: Buffer.concat([base, padding, await readFile(work.inputs["layer"]!)]) },
        { name: ".linux", content: await readFile(work.inputs["vmlinuz"]!) },
      ]);
      await writeFile(join(work.out, "unsigned"), image);
      await writeFile(join(work.out, "cmdline"), cmdline);
    },
  };
}

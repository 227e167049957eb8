import { KubedosError } from "../../../shared/error.ts";
import { defaultSpecFile } from "../options.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos write` */
export function writeVerb() {
  return verb("write", {
    summary: "write an artifact to a disk or stick, and check what it gives back",
    description:
      "Shows the disk's model, serial number and size, and writes nothing without --yes. A disk that is mounted, holds this\n" +
      "system, or is part of an LVM group, an array or a pool is refused whatever is said. What was written is read back.",
    examples: [
      ["write out/lab/lab.iso /dev/sdb", "what would be written over"],
      ["write out/lab/lab.iso /dev/sdb --yes", "make an installation stick"],
      ["write out/lab/lab.iso /dev/sdb --yes --seeds words.txt --spec lab.yaml", "with the seeds of all nodes on it"],
      ["write out/lab/lab.iso /dev/sdb --yes --seeds --spec lab.yaml", "the same where the spec knows each node's TPM"],
      ["write out/lab/lab.raw /dev/sdb --yes --seed worker-1 --spec lab.yaml", "a disk that starts as worker-1"],
    ],
  })
    .argument("<artifact>", "file of the target `raw` or `iso`")
    .argument("<device>", "whole disk, e.g. /dev/sdb")
    .option("--yes", "the disk is the one that is meant")
    .option("--wipe", "what is on the disk may be lost")
    .option("--fixed", "the disk may be one that is built into this machine")
    .option("--seed <node>", "raw: put this node's seed on the disk")
    .option(
      "--seeds [file]",
      "iso: put the seeds of all nodes on the medium, sealed to their TPMs (hardware.tpm), of nodes without by the passphrase in this file",
    )
    .option("--spec <file>", "the spec, for seeds", defaultSpecFile)
    .option("--passphrase-file <file>", "passphrase of the vault")
    .option("--identity <file...>", "age identity files that open the vault")
    .action(async (artifact, device, flags, self) => {
      await runVerb(self, async (context) => {
        const { writeMedium } = await import("../../media/write-medium.ts");
        const wanted = [flags.seed, flags.seeds].filter((value) => value !== undefined);
        if (wanted.length > 1) {
          throw new KubedosError("usage", "--seed and --seeds exclude each other", {
            hint: "--seed is for a disk (raw), --seeds for an installation medium (iso)",
          });
        }
        const result = await writeMedium(
          {
            artifact,
            device,
            consent: { yes: flags.yes === true, wipe: flags.wipe === true, fixed: flags.fixed === true },
            seedOf: flags.seed,
            seeds: flags.seeds,
            specFile: flags.spec,
            vault: { passphraseFile: flags.passphraseFile, identities: flags.identity },
          },
          context,
        );
        const what = result.seeds === undefined ? "" : `, ${result.seeds}`;
        return { data: { ...result }, text: `written and read back: ${result.device}${what}\nsha256 ${result.sha256}` };
      });
    });
}

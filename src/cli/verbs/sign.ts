import { KubedosError } from "../../../shared/error.ts";
import type { SigningKeyName } from "../../seal/signer.ts";
import { count } from "../format.ts";
import { defaultSpecFile } from "../options.ts";
import { type ProjectFlags, projectOptions, withProjectOptions } from "../project-options.ts";
import { runVerb, verb } from "../verb.ts";
import { buildUnsigned } from "./build.ts";

/** `kubedos sign` */
export function signVerb() {
  const command = verb("sign", {
    summary: "sign artifacts where the keys are, and bring signatures back",
    description:
      "`build --unsigned DIR` leaves in DIR what is to be signed. Where the keys are, `sign --pending DIR` signs it with a\n" +
      "vault; any other tool may as well: KEY-HASH.tbs is the message, KEY-HASH.sig the raw signature, for the key foundry\n" +
      "ed25519, for secure-boot RSA PKCS #1 v1.5 with SHA-256. `sign --import DIR` goes on with the build: first the boot\n" +
      "image, then manifest and provenance. `sign --attach` puts a published signature on an unsigned boot image.",
    examples: [
      ["build lab.yaml --unsigned to-sign", "everything that needs no key; what is to be signed is in to-sign"],
      ["sign --pending to-sign --vault lab.vault", "where the keys are"],
      ["sign lab.yaml --import to-sign", "back at the build: attach, and go on"],
      ["sign --raw foundry --vault lab.vault < message > signature", "one message: as trust.signing.command, too"],
      ["sign --attach boot.efi.p7 --image unsigned.efi --output signed.efi", "without any key"],
    ],
    exits: [1, 2, 3, 4, 130],
  })
    .argument("[spec]", "the spec, with --import", defaultSpecFile)
    .option("--pending <dir>", "sign all that waits in a directory")
    .option("--import <dir>", "go on with the build that wrote a directory")
    .option("--raw <key>", "sign standard input with the key `foundry` or `secure-boot`")
    .option("--attach <signature>", "attach a detached Secure Boot signature")
    .option("--vault <file>", "vault with the keys, for --pending and --raw")
    .option("--image <file>", "unsigned boot image, for --attach")
    .option("--output <file>", "where the signed boot image goes, for --attach");
  return withProjectOptions(command).action(async (specFile, given, self) => {
    // The options that withProjectOptions adds are not in the command's type.
    const flags = given as typeof given & ProjectFlags;
    await runVerb(self, async (context) => {
      const ways = [flags.pending, flags.import, flags.raw, flags.attach].filter((one) => one !== undefined);
      if (ways.length !== 1) {
        throw new KubedosError("usage", "give exactly one of --pending, --import, --raw and --attach", {
          hint: "`kubedos sign --help` shows the way from build to signed artifacts",
        });
      }
      if (flags.import !== undefined) return buildUnsigned(specFile, flags, flags.import, context);
      if (flags.attach !== undefined) return attach(flags.attach, flags.image, flags.output);
      const signers = await vaultOf(flags.vault, projectOptions(flags, false).vault);
      if (flags.raw !== undefined) {
        const [{ readStandardInput, writeStandardOutput }, { signingKeyNames }] = await Promise.all([
          import("../../host/terminal.ts"),
          import("../../seal/signer.ts"),
        ]);
        if (!signingKeyNames.includes(flags.raw as SigningKeyName)) {
          throw new KubedosError("usage", `there is no key ${flags.raw}`, {
            hint: `keys: ${signingKeyNames.join(", ")}`,
          });
        }
        const signer = flags.raw === "foundry" ? signers.foundry : signers.boot;
        if (context.json) throw new KubedosError("usage", "--raw gives bytes, and --json text: not both");
        await writeStandardOutput(await signer.sign(await readStandardInput()));
        return { data: {} };
      }
      const { signPending } = await import("../../seal/pending.ts");
      const signed = await signPending(flags.pending!, signers);
      const lines = signed.map(({ file, what }) => `signed  ${file}  ${what}`);
      return { data: { signed }, text: [...lines, `${count(signed.length, "message")} signed`].join("\n") };
    });
  });
}

async function vaultOf(file: string | undefined, unlock: { passphraseFile?: string; identities?: readonly string[] }) {
  if (file === undefined) {
    throw new KubedosError("usage", "--vault is missing", { hint: "name the vault that holds the signing keys" });
  }
  const [{ openVault }, { vaultSigners }] = await Promise.all([
    import("../../vault/vault.ts"),
    import("../../seal/signer.ts"),
  ]);
  return vaultSigners(await openVault(file, unlock));
}

async function attach(signature: string, image: string | undefined, output: string | undefined) {
  if (image === undefined || output === undefined) {
    throw new KubedosError("usage", "--attach needs --image and --output", {
      hint: "kubedos sign --attach boot.efi.p7 --image unsigned.efi --output signed.efi",
    });
  }
  const [{ attachSignature }, { readFile, writeFile }] = await Promise.all([
    import("../../seal/authenticode.ts"),
    import("node:fs/promises"),
  ]);
  const read = (file: string) =>
    readFile(file).catch((cause: unknown) => {
      throw new KubedosError("usage", `${file} cannot be read`, { hint: "name an existing file", cause });
    });
  const signed = attachSignature(await read(image), await read(signature));
  await writeFile(output, signed, { flag: "wx" }).catch((cause: NodeJS.ErrnoException) => {
    const hint = cause.code === "EEXIST" ? "it exists already: name another, or remove it" : cause.message;
    throw new KubedosError("failed", `${output} cannot be written`, { hint, cause });
  });
  return { data: { output, sizeBytes: signed.length }, text: `made  ${output}` };
}

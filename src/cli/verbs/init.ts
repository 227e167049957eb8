import { Option } from "@commander-js/extra-typings";
import { rm, writeFile } from "node:fs/promises";
import { KubedosError } from "../../../shared/error.ts";
import { substrateNames } from "../../spec/types.ts";
import { runVerb, verb } from "../verb.ts";

const takenHint = "nothing was changed; choose another name, or move the file away";

/** `kubedos init <name>` */
export function initVerb() {
  return verb("init", {
    summary: "write a starter spec and make the foundry's vault",
    description:
      "Writes NAME.yaml with comments and NAME.vault with the keys that everything of the cluster is signed with and derived\n" +
      "from. The vault is encrypted for the age identity in ~/.config/kubedos/identity.txt, which is made if there is none;\n" +
      "for other recipients; or with a passphrase. Keep a copy of the vault and of what opens it: without them the cluster's\n" +
      "nodes cannot be made again. Existing files are never overwritten.",
    examples: [
      ["init mycluster", "mycluster.yaml and mycluster.vault, opened by your identity file"],
      ["init mycluster --passphrase", "a vault with a passphrase; asks for it twice"],
      ["init mycluster --recipient age1…", "a vault for somebody else's age key"],
    ],
    exits: [1, 2, 130],
  })
    .argument("<name>", "name of the cluster, an RFC 1123 label")
    .option("--passphrase", "lock the vault with a passphrase, asked for on the terminal")
    .option("--passphrase-file <file>", "lock the vault with the passphrase in this file")
    .option("--recipient <age...>", "lock the vault for these age recipients (age1…)")
    .option("--identity <file>", "lock the vault for this age identity file")
    .addOption(new Option("--substrate <name>", "where the machines will live").choices(substrateNames))
    .action(async (name, options, command) => {
      await runVerb(command, async ({ signal }) => {
        const [
          { parseSpec },
          { starterSpec },
          { specPaths },
          { createVault, vaultExists },
          { chooseProtection },
          { signifyPublicKeyBase64 },
        ] = await Promise.all([
          import("../../spec/load.ts"),
          import("../../spec/starter.ts"),
          import("../../host/paths.ts"),
          import("../../vault/vault.ts"),
          import("../../vault/unlock.ts"),
          import("../../vault/signify.ts"),
        ]);

        // 1. Nothing is begun that could not be ended
        const paths = specPaths(`${name}.yaml`);
        const text = starterSpec(name);
        const [problem] = parseSpec(text, paths.spec).problems;
        if (problem !== undefined) {
          throw new KubedosError("usage", `"${name}" cannot be the cluster's name: ${problem.message}`, {
            hint: problem.hint,
          });
        }
        for (const path of [paths.spec, paths.vault]) {
          if (await vaultExists(path)) throw new KubedosError("usage", `${path} exists already`, { hint: takenHint });
        }

        // 2. Vault, then spec
        const protection = await chooseProtection({
          passphraseFile: options.passphraseFile,
          identities: options.identity === undefined ? undefined : [options.identity],
          recipients: options.recipient,
          askPassphrase: options.passphrase === true,
          signal,
        });
        const vault = await createVault(paths.vault, protection);
        const foundryKey = signifyPublicKeyBase64(vault.signing.publicKey);
        try {
          await writeFile(paths.spec, starterSpec(name, { substrate: options.substrate, foundryKey }), { flag: "wx" });
        } catch (cause) {
          await rm(paths.vault); // made a moment ago, and of no use without its spec
          throw new KubedosError("failed", `cannot write ${paths.spec}: ${(cause as Error).message}`, {
            hint: takenHint,
            cause,
          });
        }
        const { identityCreated } = protection;
        const identity =
          identityCreated === undefined ? [] : [`made  ${identityCreated}: opens the vault; keep a copy elsewhere`];
        return {
          data: { spec: paths.spec, vault: paths.vault, foundryKey, identityCreated },
          text: [
            ...identity,
            `made  ${paths.vault}: the foundry's keys; keep a copy elsewhere`,
            `made  ${paths.spec}: belongs to the foundry ${foundryKey}`,
            "",
            `next: edit ${name}.yaml, then \`kubedos up ${name}.yaml\``,
          ].join("\n"),
        };
      });
    });
}

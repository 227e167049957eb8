import { checksText, verdictStatus } from "../checks.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos verify` */
export function verifyVerb() {
  return verb("verify", {
    summary: "check artifacts with nothing but the foundry's public key",
    description:
      "Reads every byte: the manifest's signature, the hash of every file, both partition tables, the boot image and its\n" +
      "Secure Boot signature, and the whole root against its hash tree; compares the bills of materials with what is in\n" +
      "the root. All that is wrong is listed, with its file, structure and offset. What could not be checked is not good:\n" +
      "exit status 3. --rebuild needs spec and lock, not the vault: it takes the cluster layer and the signatures from the\n" +
      "artifacts, and everything else from the lock.",
    examples: [
      ["verify out/cluster --key foundry.pub", "everything that a build has put out"],
      ["verify out/cluster/cluster.qcow2 --key foundry.pub", "one artifact of it"],
      ["verify https://example.org/lab/ --key foundry.pub", "the same, fetched first"],
      ["verify out/cluster --key foundry.pub --rebuild", "build it again and compare every byte"],
      ["verify out/cluster --any-key", "whole and unaltered, by whomever it was made"],
    ],
    exits: [1, 2, 3, 4, 130],
  })
    .argument("<path>", "output directory of a build, an artifact in it, or an http(s) URL of one of them")
    .option("--key <key>", "the foundry's public key: foundry.pub, foundry.pem, or the line of trust.foundryKey")
    .option("--any-key", "without --key: be content with the key that lies beside the artifacts")
    .option("--revoked <file>", "revoked keys, one a line; default: ~/.config/kubedos/revoked where it exists")
    .option("--without-authenticode", "leave out the Secure Boot signature, which needs sbverify")
    .option("--rebuild", "build it again from spec and lock, and name what differs")
    .option("--spec <file>", "with --rebuild: the spec, where it is not where `build` found it")
    .action(async (path, options, command) => {
      await runVerb(command, async (context) => {
        const [{ verdict }, { verifyPublished }] = await Promise.all([
          import("../../seal/verify.ts"),
          import("../../lifecycle/verify-published.ts"),
        ]);
        const result = await verifyPublished(
          {
            path,
            key: options.key,
            anyKey: options.anyKey === true,
            revoked: options.revoked,
            withoutAuthenticode: options.withoutAuthenticode === true,
            rebuild: options.rebuild === true,
            spec: options.spec,
          },
          context,
        );
        const outcome = verdict(result.checks);
        return {
          data: { ...result, verdict: outcome },
          text: checksText(result.checks, outcome, context.paint),
          status: verdictStatus[outcome],
        };
      });
    });
}

import { exitCodes } from "../../../shared/error.ts";
import type { CapsuleDiff } from "../../capsule/diff.ts";
import { checksText, verdictStatus } from "../checks.ts";
import { findingText } from "../findings.ts";
import { count, formatBytes, formatSeconds, printable } from "../format.ts";
import { formatTable } from "../../../shared/table.ts";
import { defaultSpecFile, parseSize } from "../options.ts";
import { projectOptions, withProjectOptions, type ProjectFlags } from "../project-options.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos capsule create|rebuild|verify|diff` */
export function capsuleVerb() {
  return verb("capsule", {
    summary: "time capsules: everything to check, rebuild and deploy a cluster again, offline",
    description:
      "A capsule is one directory or ISO with spec, lock, every input, the build tools, kubedos with its runtime, and the signed\n" +
      "artifacts. Any Linux machine rebuilds it without a network: sh kubedos.sh in it. docs/capsule.md says more.",
    examples: [
      ["capsule create lab.yaml -o lab.iso", "one file to burn and keep"],
      ["capsule rebuild lab.iso", "build everything again and compare every byte"],
    ],
  })
    .addCommand(createVerb())
    .addCommand(rebuildVerb())
    .addCommand(verifyVerb())
    .addCommand(diffVerb());
}

function createVerb() {
  const command = verb("create", {
    summary: "put a cluster into a capsule",
    description:
      "Builds what is not built yet. The same spec, lock, vault and kubedos give the same bytes. An interrupted creation goes on\n" +
      "where it stopped. Without --with-vault there is no secret in it.",
    examples: [
      ["capsule create lab.yaml -o /media/usb/lab", "a directory"],
      ["capsule create lab.yaml -o lab.iso", "an ISO file"],
      ["capsule create lab.yaml -o lab --split 650MB", "volumes for several discs"],
    ],
    exits: [1, 2, 4, 130],
  })
    .argument("[spec]", "the spec", defaultSpecFile)
    .requiredOption("-o, --output <path>", "directory, or file that ends with .iso; must not exist")
    .option("--with-vault", "put the encrypted vault in as well")
    .option("--split <size>", "volumes of at most this size, e.g. 650MB or 4.7GB", parseSize);
  return withProjectOptions(command).action(async (specFile, given, self) => {
    const flags = given as typeof given & ProjectFlags;
    await runVerb(self, async (context) => {
      const [{ openProject }, { createCapsule }, { resolve }] = await Promise.all([
        import("../../lifecycle/project.ts"),
        import("../../lifecycle/capsule.ts"),
        import("node:path"),
      ]);
      const project = await openProject(specFile, projectOptions(flags, false), context);
      const options = {
        output: resolve(flags.output),
        withVault: flags.withVault === true,
        ...(flags.split === undefined ? {} : { splitBytes: flags.split }),
      };
      const created = await createCapsule(project, options, context);
      const { path, files, sizeBytes, resumed, seconds } = created;
      const again = resumed === 0 ? "" : `, ${resumed} of them were there already`;
      return {
        data: { ...created },
        text: `${path}: ${formatBytes(sizeBytes)}, ${count(files, "file")}${again}, ${formatSeconds(seconds)}`,
      };
    });
  });
}

function rebuildVerb() {
  return verb("rebuild", {
    summary: "build everything in a capsule again, from nothing else, and compare every byte",
    description:
      "Needs no vault and no network: what only the foundry's keys can make (public keys of nodes, signatures) is taken from\n" +
      "the artifacts. --with-vault makes these again too, with the vault that is in the capsule, --vault with another copy of\n" +
      "it; a signature that is not the published one is named like any other difference. A machine without kubedos runs `sh kubedos.sh` in the capsule, which does this.",
    examples: [
      ["capsule rebuild /mnt", "the capsule on a mounted medium"],
      ["capsule rebuild lab.iso --out rebuilt", "an ISO file; the rebuilt files are in rebuilt/out/"],
    ],
    exits: [1, 2, 130],
  })
    .argument("<capsule>", "directory or ISO")
    .option("--out <dir>", "directory to make for the rebuilt files", "rebuilt")
    .option("--key <key>", "the foundry's public key; default: the one in the capsule")
    .option("--with-vault", "keys and signatures from the vault in the capsule, not from the artifacts")
    .option("--vault <file>", "the same with this vault")
    .option("--passphrase-file <file>", "passphrase of the vault; - reads standard input")
    .option("--identity <file...>", "age identity files that open the vault")
    .action(async (path, options, command) => {
      await runVerb(command, async (context) => {
        const [{ openCapsule }, { rebuildCapsule }, { openStore }, { cacheDirectory }, { resolve }] = await Promise.all(
          [
            import("../../capsule/open.ts"),
            import("../../capsule/rebuild.ts"),
            import("../../store/store.ts"),
            import("../../host/paths.ts"),
            import("node:path"),
          ],
        );
        const store = await openStore(cacheDirectory());
        const capsule = await openCapsule(path, store.directory, context.signal);
        try {
          const out = resolve(options.out);
          const { withVault, vault: file, passphraseFile, identity } = options;
          const unlock = { passphraseFile, identities: identity };
          const vault = withVault === true || file !== undefined ? { file, unlock } : undefined;
          const given = { key: options.key, vault };
          const result = await rebuildCapsule(capsule.directory, out, store, given, context);
          const { same, files, differences, seconds, directory } = result;
          const found = differences.flatMap(({ file, findings }) => [
            context.paint.red(`${file} differs`),
            ...findings.map((finding) => `    ${findingText(finding)}`),
          ]);
          const outcome = same
            ? context.paint.green(
                `the same bytes: ${count(files, "file")} rebuilt in ${formatSeconds(seconds)}, in ${directory}`,
              )
            : context.paint.red(
                `not the same: ${count(differences.length, "file")} differ; the rebuilt ones are in ${directory}`,
              );
          return {
            data: { ...result },
            text: [...found, outcome].join("\n"),
            status: same ? 0 : exitCodes.failed,
          };
        } finally {
          await capsule.close();
        }
      });
    });
}

function verifyVerb() {
  return verb("verify", {
    summary: "check a capsule: every file, the signature over all of them, and the artifacts inside",
    examples: [
      ["capsule verify /mnt --key foundry.pub", "whole, and made by this foundry"],
      ["capsule verify lab.iso --any-key", "whole, by whomever it was made"],
    ],
    exits: [1, 2, 3, 130],
  })
    .argument("<capsule>", "directory or ISO")
    .option("--key <key>", "the foundry's public key: foundry.pub, foundry.pem, or the line of trust.foundryKey")
    .option("--any-key", "without --key: be content with the key in the capsule")
    .option("--revoked <file>", "revoked keys, one a line; default: ~/.config/kubedos/revoked where it exists")
    .option("--without-authenticode", "leave out the Secure Boot signature, which needs sbverify")
    .action(async (path, options, command) => {
      await runVerb(command, async (context) => {
        const [{ openCapsule }, { verifyCapsuleWhole }, { verdict }, { tmpdir }] = await Promise.all([
          import("../../capsule/open.ts"),
          import("../../capsule/verify-whole.ts"),
          import("../../seal/verify.ts"),
          import("node:os"),
        ]);
        const capsule = await openCapsule(path, tmpdir(), context.signal);
        try {
          const checks = await verifyCapsuleWhole(capsule.directory, {
            key: options.key,
            anyKey: options.anyKey === true,
            revoked: options.revoked,
            withoutAuthenticode: options.withoutAuthenticode === true,
            signal: context.signal,
          });
          const outcome = verdict(checks);
          return {
            data: { checks, verdict: outcome },
            text: checksText(checks, outcome, context.paint),
            status: verdictStatus[outcome],
          };
        } finally {
          await capsule.close();
        }
      });
    });
}

function diffVerb() {
  return verb("diff", {
    summary: "what differs between two capsules: files, packages, spec",
    examples: [["capsule diff 2026.iso 2027.iso", "exit status 1 when something differs"]],
    exits: [1, 2, 130],
  })
    .argument("<old>", "directory or ISO")
    .argument("<new>", "directory or ISO")
    .action(async (from, to, _options, command) => {
      await runVerb(command, async ({ signal }) => {
        const [{ openCapsule }, { diffCapsules }, { tmpdir }] = await Promise.all([
          import("../../capsule/open.ts"),
          import("../../capsule/diff.ts"),
          import("node:os"),
        ]);
        const open = [await openCapsule(from, tmpdir(), signal)];
        try {
          open.push(await openCapsule(to, tmpdir(), signal));
          const result = await diffCapsules(open[0]!.directory, open[1]!.directory);
          return { data: { ...result }, text: diffText(result), status: result.same ? 0 : exitCodes.failed };
        } finally {
          for (const capsule of open) await capsule.close();
        }
      });
    });
}

function diffText({ same, facts, files, packages }: CapsuleDiff): string {
  if (same) return "the same";
  const rows = [
    ...facts.map(({ what, from, to }) => [what, from, to]),
    ...packages.map(({ name, from, to }) => [`package ${name}`, from ?? "", to ?? ""]),
    ...files
      .filter(({ path }) => !path.startsWith("store/"))
      .map(({ path, from, to }) => [path, from?.sha256.slice(0, 16) ?? "", to?.sha256.slice(0, 16) ?? ""]),
  ];
  return printable(formatTable(["what", "old", "new"], rows));
}

import { resolve } from "node:path";
import { count, formatBytes } from "../format.ts";
import { defaultSpecFile } from "../options.ts";
import { projectOptions, withProjectOptions, type ProjectFlags } from "../project-options.ts";
import type { RunContext } from "../../host/context.ts";
import type { CreatedRepository } from "../../lifecycle/repository.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos repo create` */
export function repoVerb() {
  return verb("repo", {
    summary: "make a signed apt repository of the locked packages",
    examples: [["repo create -o /srv/darksite", "write the repository of cluster.yaml's lock to a directory"]],
  }).addCommand(createVerb());
}

function createVerb() {
  const command = verb("create", {
    summary: "write the packages of a lock as a signed apt repository",
    description:
      "The directory is a plain Debian repository, signed with the foundry's archive key (archive.asc in it). What else is locked is in it as well: Python distributions with an index for pip, files, images as an OCI layout. The same lock and vault give the same bytes. With the profile full it holds every package of the suites instead, as the mirror has them now. An interrupted run is continued by the next.",
    examples: [
      ["repo create -o /srv/darksite", "the packages of cluster.yaml's lock"],
      ["repo create lab.yaml -o /mnt/usb/darksite --offline", "from the store, without the network"],
      ["repo create --repo-profile full -o /mnt/disk/debian", "the size of the whole archive; --accept-size writes it"],
    ],
    exits: [1, 2, 4, 130],
  })
    .argument("[spec]", "the spec", defaultSpecFile)
    .requiredOption("-o, --output <dir>", "directory of the repository: new, empty, or made by this command")
    .option("--accept-size", "with the profile full: write the whole archive, whose size the command has shown");
  return withProjectOptions(command).action(async (specFile, options, self) => {
    await runVerb(self, async (context) => {
      const made = await create(specFile, { ...options, output: resolve(options.output) }, context);
      const others = made.others === 0 ? "" : ` and ${count(made.others, "other file")}`;
      return {
        data: { ...made },
        text: [
          `${made.directory}: ${count(made.packages, "package")}${others}, ${formatBytes(made.sizeBytes)}`,
          `signed by ${made.fingerprint}`,
          "a source for apt:",
          `  deb [signed-by=${made.directory}/archive.asc] file:${made.directory} ${made.suites[0]} main`,
          ...(made.others === 0
            ? []
            : ["python/simple/ is an index for pip, images/ an OCI layout, SHA256SUMS lists all"]),
        ].join("\n"),
      };
    });
  });
}

async function create(
  specFile: string,
  flags: ProjectFlags & { output: string; acceptSize?: true },
  context: RunContext,
): Promise<CreatedRepository> {
  const [{ openProject, unlockVault }, { loadSpec }] = await Promise.all([
    import("../../lifecycle/project.ts"),
    import("../../spec/load.ts"),
  ]);
  const options = projectOptions(flags, false);
  const written = await loadSpec(specFile);
  const spec = options.override?.(written) ?? written;
  if (spec.platform.repository.profile !== "full") {
    const { createRepository } = await import("../../lifecycle/repository.ts");
    return createRepository(await openProject(specFile, options, context), flags.output, context);
  }
  const [{ createFullRepository }, { archiveKey }, { specPaths }] = await Promise.all([
    import("../../lifecycle/full-repository.ts"),
    import("../../vault/archive-key.ts"),
    import("../../host/paths.ts"),
  ]);
  const key = archiveKey(await unlockVault(spec, specPaths(specFile), options, context));
  const { suite, mirror } = spec.platform;
  const label = `kubedos ${spec.metadata.name}`;
  const request = { suite, profile: "full", mirror, key, label, acceptSize: flags.acceptSize === true } as const;
  return createFullRepository(request, flags.output, context);
}

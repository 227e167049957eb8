import { resolve } from "node:path";
import { count, formatBytes } from "../format.ts";
import { defaultSpecFile } from "../options.ts";
import { projectOptions, withProjectOptions, type ProjectFlags } from "../project-options.ts";
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
      "The directory is a plain Debian repository, signed with the foundry's archive key (archive.asc in it). The same lock and vault give the same bytes. An interrupted run is continued by the next.",
    examples: [
      ["repo create -o /srv/darksite", "the packages of cluster.yaml's lock"],
      ["repo create lab.yaml -o /mnt/usb/darksite --offline", "from the store, without the network"],
    ],
    exits: [1, 2, 4, 130],
  })
    .argument("[spec]", "the spec", defaultSpecFile)
    .requiredOption("-o, --output <dir>", "directory of the repository: new, empty, or made by this command");
  return withProjectOptions(command).action(async (specFile, options, self) => {
    await runVerb(self, async (context) => {
      const [{ openProject }, { createRepository }] = await Promise.all([
        import("../../lifecycle/project.ts"),
        import("../../lifecycle/repository.ts"),
      ]);
      const project = await openProject(
        specFile,
        projectOptions(options as ProjectFlags & typeof options, false),
        context,
      );
      const made = await createRepository(project, resolve(options.output), context);
      return {
        data: { ...made },
        text: [
          `${made.directory}: ${count(made.packages, "package")}, ${formatBytes(made.sizeBytes)}`,
          `signed by ${made.fingerprint}`,
          "a source for apt:",
          `  deb [signed-by=${made.directory}/archive.asc] file:${made.directory} ${made.suites[0]} main`,
        ].join("\n"),
      };
    });
  });
}

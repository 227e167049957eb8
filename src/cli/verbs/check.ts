import { count } from "../format.ts";
import { defaultSpecFile } from "../options.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos check [spec]` */
export function checkVerb() {
  return verb("check", {
    summary: "check a spec and show all its problems at once",
    description:
      "Each problem comes with its place, what is wrong and what to write instead. Needs no network and no vault.",
    examples: [
      ["check", `check ${defaultSpecFile}`],
      ["check lab.yaml --json", "the same as data: `error.problems` of the result"],
    ],
    exits: [2, 130],
  })
    .argument("[spec]", "spec file", defaultSpecFile)
    .action(async (file, _options, command) => {
      await runVerb(command, async (context) => {
        const [{ loadSpec }, { readPlaybooks, readStates }, { specPaths }, { listCertificates }] = await Promise.all([
          import("../../spec/load.ts"),
          import("../../lifecycle/content.ts"),
          import("../../host/paths.ts"),
          import("../../lifecycle/certificates.ts"),
        ]);
        const spec = await loadSpec(file);
        const playbooks = await readPlaybooks(file, spec, context);
        const states = await readStates(file, spec, context);
        const expired = (await listCertificates(spec, specPaths(file))).filter(({ state }) => state === "expired");
        if (expired.length > 0) {
          const names = [...new Set(expired.map(({ name }) => name))].join(", ");
          const message = `certificates of ${names} are out of date`;
          context.emit({ type: "log", level: "warn", message, hint: "`kubedos pki renew` issues new ones" });
        }
        const { name } = spec.metadata;
        const planes = spec.planes.map((plane) => plane.name);
        return {
          data: {
            spec: file,
            cluster: name,
            nodes: spec.nodes.length,
            planes,
            features: spec.platform.features,
            playbooks: playbooks.length,
            states: states.length,
          },
          text: `${file}: cluster ${name} is fine: ${count(spec.nodes.length, "node")}, ${count(planes.length, "plane")}, substrate ${spec.substrate.name}${playbooks.length === 0 ? "" : `, ${count(playbooks.length, "file")} of playbooks`}${states.length === 0 ? "" : `, ${count(states.length, "file")} of states`}`,
        };
      });
    });
}

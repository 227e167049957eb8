import { exitCodes, KubedosError } from "../../../shared/error.ts";
import { count } from "../format.ts";
import { defaultSpecFile } from "../options.ts";
import { type ProjectFlags, projectOptions, withProjectOptions } from "../project-options.ts";
import { runVerb, verb } from "../verb.ts";
import { formatTable } from "../../../shared/table.ts";

/** `kubedos pki list|renew|operator` */
export function pkiVerb() {
  return verb("pki", {
    summary: "show, renew and hand out the cluster's certificates",
    examples: [
      ["pki list", "what expires when"],
      ["pki renew", "new certificates for all nodes, at once where they run"],
    ],
  })
    .addCommand(listVerb())
    .addCommand(renewVerb())
    .addCommand(operatorVerb());
}

function listVerb() {
  return verb("list", {
    summary: "every certificate with its end",
    description:
      "Reads what was recorded when certificates were issued; needs no vault. Fails where one is out of date.",
    examples: [
      ["pki list", "one table"],
      ["pki list lab.yaml --json", "the same as data"],
    ],
    exits: [2, 3, 130],
  })
    .argument("[spec]", "the spec", defaultSpecFile)
    .action(async (specFile, _options, self) => {
      await runVerb(self, async () => {
        const [{ loadSpec }, { specPaths }, { listCertificates }] = await Promise.all([
          import("../../spec/load.ts"),
          import("../../host/paths.ts"),
          import("../../lifecycle/certificates.ts"),
        ]);
        const entries = await listCertificates(await loadSpec(specFile), specPaths(specFile));
        const rows = entries.map((entry) => [
          entry.kind,
          entry.name,
          entry.purpose ?? "-",
          entry.notAfter?.slice(0, 16).replace("T", " ") ?? "-",
          entry.state === "none" ? "not issued" : entry.state,
        ]);
        const expired = entries.filter((entry) => entry.state === "expired");
        const names = [...new Set(expired.map((entry) => entry.name))].join(", ");
        const hint = `out of date: ${names}\n  hint: \`kubedos pki renew\` issues new ones`;
        return {
          data: { certificates: entries },
          text:
            formatTable(["KIND", "NAME", "PURPOSE", "ENDS (UTC)", "STATE"], rows) +
            (expired.length > 0 ? `\n${hint}` : ""),
          status: expired.length > 0 ? exitCodes.gate : 0,
        };
      });
    });
}

function renewVerb() {
  const command = verb("renew", {
    summary: "issue new certificates for nodes",
    description:
      "Nodes that run get them over SSH at once, and their services take them up; the others get them with their next start. Keys stay the same: a raised generation makes new ones.",
    examples: [
      ["pki renew", "all nodes"],
      ["pki renew core-1 core-2 --spec lab.yaml", "two of them"],
    ],
    exits: [1, 2, 130],
  })
    .argument("[nodes...]", "names of nodes; default: all")
    .option("--spec <file>", "the spec", defaultSpecFile);
  return withProjectOptions(command).action(async (nodes, flags, self) => {
    await runVerb(self, async (context) => {
      const [{ openProject }, { openRunning, requireNode }, { renewNodes }, { readRun }] = await Promise.all([
        import("../../lifecycle/project.ts"),
        import("../../lifecycle/running.ts"),
        import("../../lifecycle/certificates.ts"),
        import("../../lifecycle/run-state.ts"),
      ]);
      const project = await openProject(flags.spec, projectOptions(flags as ProjectFlags, false), context);
      for (const node of nodes) requireNode(project, node);
      const up = (await readRun(project.paths)) !== undefined;
      const wanted = nodes.length > 0 ? nodes : project.spec.nodes.map(({ name }) => name);
      const results = await renewNodes(project, wanted, up ? await openRunning(flags.spec) : undefined, context);
      const delivered = results.filter((result) => result.delivered).length;
      return {
        data: { nodes: results },
        text: `issued new certificates for ${count(results.length, "node")}; ${delivered} of them run and have theirs`,
      };
    });
  });
}

function operatorVerb() {
  const command = verb("operator", {
    summary: "write an operator's client certificate for the agents",
    description:
      "Writes agent.crt, agent.key (0600) and agent.ca.crt into a directory, for tools that ask agents over TLS.",
    examples: [
      ["pki operator alice --out ~/kubedos-tls", "curl --cert agent.crt --key agent.key --cacert agent.ca.crt …"],
    ],
    exits: [1, 2, 130],
  })
    .argument("<name>", "an operator of the spec")
    .requiredOption("--out <dir>", "directory for the files")
    .option("--spec <file>", "the spec", defaultSpecFile);
  return withProjectOptions(command).action(async (name, flags, self) => {
    await runVerb(self, async (context) => {
      const [{ openProject }, { issueOperator }, { mkdir, writeFile }, { join }] = await Promise.all([
        import("../../lifecycle/project.ts"),
        import("../../lifecycle/certificates.ts"),
        import("node:fs/promises"),
        import("node:path"),
      ]);
      const project = await openProject(flags.spec, projectOptions(flags as ProjectFlags, false), context);
      const issued = await issueOperator(project, name, context);
      try {
        await mkdir(flags.out, { recursive: true, mode: 0o700 });
        await writeFile(join(flags.out, "agent.key"), issued.key, { mode: 0o600 });
        await writeFile(join(flags.out, "agent.crt"), issued.certificate);
        await writeFile(join(flags.out, "agent.ca.crt"), issued.authority);
      } catch (cause) {
        throw new KubedosError("failed", `cannot write to ${flags.out}: ${(cause as Error).message}`, { cause });
      }
      return {
        data: { operator: name, directory: flags.out, notAfter: issued.notAfter },
        text: `wrote agent.crt, agent.key and agent.ca.crt to ${flags.out}; they end ${issued.notAfter}`,
      };
    });
  });
}

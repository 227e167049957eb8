import { nodeCertificates } from "../fabric/certificates.ts";
import { operatorAccess } from "../fabric/keys.ts";
import { saltSecrets } from "../fabric/salt.ts";
import { buildSeed } from "../fabric/seed.ts";
import type { RunContext } from "../host/context.ts";
import { connectOperator } from "../substrates/operator.ts";
import { substrates } from "../substrates/registry.ts";
import { issueTime } from "./issued.ts";
import { operatorShell } from "./shell.ts";
import type { Project } from "./project.ts";
import { up, type UpResult } from "./up.ts";

/** `up` for an opened project: seeds and operator's keys come from its vault. */
export function upProject(project: Project, context: RunContext): Promise<UpResult> {
  const { spec, vault, authorities, keys, layer, paths, store, build } = project;
  return up(
    {
      build,
      layer,
      paths,
      store,
      substrate: substrates[spec.substrate.name],
      seed: async (node) => {
        const issuedAt = await issueTime(paths, spec, { node });
        const certificates = await nodeCertificates(spec, vault, authorities, node, issuedAt);
        return buildSeed(spec, vault, node, { ...certificates, ...saltSecrets(spec, keys, node) });
      },
      shell: (node, command, options) => operatorShell(project, node, command, options, context),
      connect: async () => {
        const [operator] = layer.operators;
        if (operator === undefined) return;
        await connectOperator(paths, layer, operatorAccess(spec, vault, operator.name), context);
      },
    },
    context,
  );
}

import { KubedosError } from "../../shared/error.ts";
import { nodeCertificates } from "../fabric/certificates.ts";
import { operatorAccess } from "../fabric/keys.ts";
import { saltSecrets } from "../fabric/salt.ts";
import { buildSeed } from "../fabric/seed.ts";
import type { RunContext } from "../host/context.ts";
import { connectOperator } from "../substrates/operator.ts";
import { substrates } from "../substrates/registry.ts";
import type { NodeSeed } from "../substrates/types.ts";
import { issueTime } from "./issued.ts";
import { operatorShell } from "./shell.ts";
import type { Project, SeedSource } from "./project.ts";
import { up, type UpResult } from "./up.ts";

/** A node's seed, with certificates that are issued anew when they are due. */
export async function nodeSeed(source: SeedSource, node: string): Promise<NodeSeed> {
  const { spec, vault, authorities, keys, paths } = source;
  const issuedAt = await issueTime(paths, spec, { node });
  const certificates = await nodeCertificates(spec, vault, authorities, node, issuedAt);
  return buildSeed(spec, vault, node, { ...certificates, ...saltSecrets(spec, keys, node) });
}

/** `up` for an opened project: seeds and operator's keys come from its vault. */
export async function upProject(project: Project, context: RunContext): Promise<UpResult> {
  const { spec, vault, layer, paths, store, build } = project;
  const machines = () => substrates[spec.substrate.name].status({ spec, paths });
  return up(
    {
      build,
      layer,
      paths,
      store,
      substrate: substrates[spec.substrate.name],
      seed: (node) => nodeSeed(project, node),
      shell: (node, command, options) => operatorShell(project, node, command, options, context),
      connect: async () => {
        const [operator] = layer.operators;
        if (operator === undefined) return;
        await connectOperator(paths, layer, operatorAccess(spec, vault, operator.name), context);
      },
    },
    context,
  ).catch(async (error: unknown) => {
    if (!context.signal.aborted) throw error;
    const running = (await machines()).filter((machine) => machine.state === "running").map(({ node }) => node);
    if (running.length === 0) throw error;
    throw new KubedosError("interrupted", `interrupted; ${running.join(", ")} still running`, {
      hint: "`kubedos up` goes on from here, `kubedos down` ends what runs",
      cause: error,
    });
  });
}

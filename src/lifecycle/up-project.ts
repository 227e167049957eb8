import { enrollCredential, enrollLimits } from "../../shared/enroll.ts";
import { KubedosError } from "../../shared/error.ts";
import { enrollFirstBoot } from "../enroll/first-boot.ts";
import { enrollCluster } from "../enroll/hubs.ts";
import { issueToken, tokenCluster, tokenMinutes } from "../enroll/tokens.ts";
import { nodeCertificates } from "../fabric/certificates.ts";
import { operatorAccess } from "../fabric/keys.ts";
import { nodesJoin, saltSecrets } from "../fabric/salt.ts";
import { buildSeed } from "../fabric/seed.ts";
import type { RunContext } from "../host/context.ts";
import { connectOperator } from "../substrates/operator.ts";
import { substrates } from "../substrates/registry.ts";
import type { NodeSeed } from "../substrates/types.ts";
import { issueTime } from "./issued.ts";
import { operatorShell } from "./shell.ts";
import type { Project, SeedSource } from "./project.ts";
import { up, type UpResult } from "./up.ts";

/** Nobody knows when a medium is put into its machine. */
export const mediumToken = { minutes: enrollLimits.tokenMinutes };

/** A node's seed, with certificates that are issued anew when they are due, and a fresh token where nodes join. */
export async function nodeSeed(
  source: SeedSource,
  node: string,
  token: { minutes: number } | "none" = { minutes: tokenMinutes },
): Promise<NodeSeed> {
  const { spec, vault, authorities, keys, paths } = source;
  const issuedAt = await issueTime(paths, spec, { node });
  const certificates = await nodeCertificates(spec, vault, authorities, node, issuedAt);
  const secrets = saltSecrets(spec, keys, node);
  if (token !== "none" && nodesJoin(spec)) {
    secrets[enrollCredential] = await issueToken(paths, tokenCluster(spec), node, token.minutes);
  }
  return buildSeed(spec, vault, node, { ...certificates, ...secrets });
}

/** `up` for an opened project: seeds and operator's keys come from its vault. */
export async function upProject(project: Project, context: RunContext): Promise<UpResult> {
  const { spec, vault, layer, paths, store, build } = project;
  const machines = () => substrates[spec.substrate.name].status({ spec, paths });
  const runningNames = async () =>
    (await machines()).filter((machine) => machine.state === "running").map(({ node }) => node);
  const runBefore = await runningNames();
  const started: string[] = [];
  return up(
    {
      build,
      layer,
      paths,
      store,
      substrate: substrates[spec.substrate.name],
      seed(node) {
        // A machine that runs is left alone, and has had its token.
        const runs = runBefore.includes(node);
        if (!runs) started.push(node);
        return nodeSeed(project, node, runs ? "none" : undefined);
      },
      ...(nodesJoin(spec) && {
        enroll: (lost: readonly string[]) => enrollFirstBoot(enrollCluster(project, context), started, lost, context),
      }),
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
    const running = await runningNames();
    if (running.length === 0) throw error;
    throw new KubedosError("interrupted", `interrupted; ${running.join(", ")} still running`, {
      hint: "`kubedos up` goes on from here, `kubedos down` ends what runs",
      cause: error,
    });
  });
}

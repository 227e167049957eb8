import { pkiCredential, type PkiPurpose, pkiPurposes } from "../../shared/pki.ts";
import { KubedosError } from "../../shared/error.ts";
import { nodeCertificates, operatorCertificate } from "../fabric/certificates.ts";
import { nowMs } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import type { SpecPaths } from "../host/paths.ts";
import { run } from "../host/run.ts";
import type { Spec } from "../spec/types.ts";
import { nodeProgram } from "../substrates/node-program.ts";
import { sshCommand } from "../substrates/operator.ts";
import { type Authorities, authorityValidity, leafValidity } from "../vault/pki.ts";
import type { Vault } from "../vault/types.ts";
import { issueTime, type IssueRecord, isDue, readIssued } from "./issued.ts";
import type { RunningCluster } from "./running.ts";

/** `due`: past half of its life, renewed by the next `up`. `none`: not issued yet. */
export type CertificateState = "valid" | "due" | "expired" | "none";

/** One certificate of the cluster. */
export interface CertificateEntry {
  kind: "root" | "authority" | "node" | "operator";
  name: string;
  purpose?: PkiPurpose;
  issuedAt?: string;
  notBefore?: string;
  notAfter?: string;
  state: CertificateState;
}

/** Every certificate that the cluster has or is to have, from the records; needs no vault. */
export async function listCertificates(spec: Spec, paths: SpecPaths): Promise<CertificateEntry[]> {
  const issued = await readIssued(paths);
  const fixed = {
    notBefore: authorityValidity.notBefore.toISOString(),
    notAfter: authorityValidity.notAfter.toISOString(),
    state: authorityValidity.notAfter.getTime() < nowMs() ? ("expired" as const) : ("valid" as const),
  };
  const cluster = spec.metadata.name;
  return [
    { kind: "root", name: `${cluster} root`, ...fixed },
    ...pkiPurposes.map((purpose) => ({ kind: "authority" as const, name: `${cluster} ${purpose}`, purpose, ...fixed })),
    ...spec.nodes.flatMap(({ name }) =>
      pkiPurposes.map((purpose) => ({ kind: "node" as const, name, purpose, ...leafState(spec, issued.nodes[name]) })),
    ),
    ...spec.trust.operators.map(({ name }) => ({
      kind: "operator" as const,
      name,
      purpose: "agent" as const,
      ...leafState(spec, issued.operators[name]),
    })),
  ];
}

function leafState(spec: Spec, record: IssueRecord | undefined): Omit<CertificateEntry, "kind" | "name" | "purpose"> {
  if (record === undefined) return { state: "none" };
  const { notBefore, notAfter } = leafValidity(new Date(record.issuedAt), record.days);
  const due = isDue(record, spec.trust.certificateDays, nowMs());
  return {
    issuedAt: record.issuedAt,
    notBefore: notBefore.toISOString(),
    notAfter: notAfter.toISOString(),
    state: notAfter.getTime() <= nowMs() ? "expired" : due ? "due" : "valid",
  };
}

/** What issuing needs; an opened project has it. */
export interface Issuing {
  spec: Spec;
  paths: SpecPaths;
  vault: Vault;
  authorities: Authorities;
}

/**
 * Issues new certificates for nodes. A node that runs gets them at once, over SSH, and its services take them up; the
 * others get them with their next seed.
 *
 * @param cluster absent: nothing is up
 * @returns what happened, by node
 */
export async function renewNodes(
  { spec, paths, vault, authorities }: Issuing,
  nodes: readonly string[],
  cluster: RunningCluster | undefined,
  context: RunContext,
): Promise<{ node: string; delivered: boolean }[]> {
  const machines = cluster === undefined ? [] : await cluster.substrate.status(cluster.lab);
  const results: { node: string; delivered: boolean }[] = [];
  for (const node of nodes) {
    context.signal.throwIfAborted();
    const issuedAt = await issueTime(paths, spec, { node }, { renew: true, signal: context.signal });
    const certificates = await nodeCertificates(spec, vault, authorities, node, issuedAt);
    const running = machines.some((machine) => machine.node === node && machine.state === "running");
    if (cluster !== undefined && running) await deliver(cluster, node, certificates, context);
    results.push({ node, delivered: running });
  }
  return results;
}

/** An operator's client certificate and what to trust, PEM. */
export async function issueOperator(
  { spec, paths, vault, authorities }: Issuing,
  name: string,
  context: RunContext,
): Promise<{ certificate: string; key: string; authority: string; notAfter: string }> {
  const issuedAt = await issueTime(paths, spec, { operator: name }, { signal: context.signal });
  const leaf = await operatorCertificate(spec, vault, authorities, name, issuedAt);
  const { notAfter } = leafValidity(issuedAt, spec.trust.certificateDays);
  return { ...leaf, authority: authorities.purposes.agent.certificate, notAfter: notAfter.toISOString() };
}

/** The keys travel on standard input: they are in no argument and no file on the way. */
async function deliver(
  cluster: RunningCluster,
  node: string,
  certificates: Readonly<Record<string, string>>,
  context: RunContext,
): Promise<void> {
  const command = [...nodeProgram("agent"), "certificates"];
  const ssh = await sshCommand(cluster.paths, cluster.layer, node, ["--", ...command]);
  const names = pkiPurposes.flatMap((purpose) => [pkiCredential(purpose, "crt"), pkiCredential(purpose, "key")]);
  const input = JSON.stringify(Object.fromEntries(names.map((name) => [name, certificates[name]])));
  try {
    await run(ssh.command, ssh.args, { input, signal: context.signal, timeoutMs: 120_000 });
  } catch (cause) {
    context.signal.throwIfAborted();
    throw new KubedosError("failed", `${node} did not take its new certificates: ${(cause as Error).message}`, {
      hint: "the nodes before it have theirs; run the command again",
      cause,
    });
  }
}

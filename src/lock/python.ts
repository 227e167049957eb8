import { existsSync } from "node:fs";
import { isAbsolute } from "node:path";
import * as z from "zod";
import { KubedosError } from "../../shared/error.ts";
import type { Foundry } from "../assemble/foundry.ts";
import type { RunContext } from "../host/context.ts";
import type { PipConfig } from "../host/pip-config.ts";
import { runInSandbox, type SandboxJob } from "../host/sandbox.ts";
import { readNetrc } from "../host/user-files.ts";
import type { LockedWheel, PythonRequest } from "./inputs.ts";

/** A distribution that pip chose; its size is not known yet. */
export type ResolvedWheel = Omit<LockedWheel, "sizeBytes">;

/** What the resolver works with. */
export interface PythonTools {
  foundry: Foundry;
  /** Fixed clock of builds from the lock, seconds since 1970. */
  epoch: number;
  /** Empty directory for the scripts' own use. */
  scratch: string;
  pip: PipConfig;
  context: RunContext;
}

const answerSchema = z.array(
  z.array(
    z.strictObject({
      name: z.string(),
      version: z.string(),
      filename: z.string(),
      sha256: z.string(),
      sdist: z.boolean(),
    }),
  ),
);

interface Closure {
  requirements: readonly string[];
  without: readonly string[];
  onlyBinary: boolean;
}

/**
 * The closures of requirements for the platform's Python: pip resolves them inside of the foundry root, with the
 * host's indexes. Asking a source distribution what it needs runs its own code, which has the network but sees nothing
 * of the host.
 *
 * @throws KubedosError code "spec" with pip's reason when there is no solution
 */
export async function resolvePython(requests: readonly PythonRequest[], tools: PythonTools): Promise<ResolvedWheel[]> {
  const closures = await resolve(
    requests.map(({ requirements, without = [] }) => ({ requirements, without, onlyBinary: false })),
    tools,
  );
  return closures.flatMap((found, index) =>
    found.map(({ sdist, ...entry }) => ({
      ...entry,
      kind: sdist ? ("sdist" as const) : ("wheel" as const),
      prefix: requests[index]!.prefix,
    })),
  );
}

/** What builds the source distributions of a closure: wheels only, for each of them its own. */
export async function resolveBuilders(
  sources: readonly { wheel: ResolvedWheel; requirements: readonly string[] }[],
  tools: PythonTools,
): Promise<ResolvedWheel[]> {
  const asking = sources.filter(({ requirements }) => requirements.length > 0); // some bring all that builds them
  const closures = await resolve(
    asking.map(({ requirements }) => ({ requirements, without: [], onlyBinary: true })),
    tools,
  );
  return closures.flatMap((found, index) => {
    const { prefix, name: buildOf } = asking[index]!.wheel;
    return found.map(({ name, version, filename, sha256 }) => {
      return { prefix, name, version, filename, sha256, kind: "wheel" as const, buildOf };
    });
  });
}

/** What each source distribution of a plan (see python-install.py) says it needs to be built. */
export async function buildRequirements(
  plan: string,
  objects: string,
  tools: PythonTools,
): Promise<Record<string, string[]>> {
  const { stdout } = await inFoundry(
    {
      command: ["sh", "/scripts/python.sh", "requires"],
      inputs: { plan, objects },
      hint: "the source distribution cannot be built here; leave it out with `without`, or ask for one that has a wheel",
    },
    tools,
  );
  return z.record(z.string(), z.array(z.string())).parse(JSON.parse(stdout));
}

async function resolve(closures: readonly Closure[], tools: PythonTools): Promise<z.infer<typeof answerSchema>> {
  if (closures.length === 0) return [];
  const { pip } = tools;
  const links = pip.findLinks.map((place, index) => ({
    place,
    seen: isAbsolute(place) ? `/in/links-${index}` : place,
  }));
  const caFile = pip.caFile ?? "/etc/ssl/certs/ca-certificates.crt";
  const files: [string, string | undefined][] = [
    ["resolv", "/etc/resolv.conf"],
    ["hosts", "/etc/hosts"],
    ["certificates", caFile],
    ["client", pip.clientCertificate],
  ];
  const inputs = [
    ...files.flatMap(([name, file]) => (file !== undefined && existsSync(file) ? [[name, file] as const] : [])),
    ...links.flatMap(({ place, seen }) =>
      seen !== place && existsSync(place) ? [[seen.slice("/in/".length), place] as const] : [],
    ),
  ];
  const given = Object.fromEntries(inputs);
  const settings: Record<string, string | undefined> = {
    "index-url": pip.indexes[0] ?? "",
    "extra-index-url": pip.indexes.slice(1).join(" "),
    "find-links": links.map(({ seen }) => seen).join(" "),
    proxy: pip.proxy,
    cert: given["certificates"] === undefined ? undefined : "/in/certificates",
    "client-cert": given["client"] === undefined ? undefined : "/in/client",
    "trusted-host": pip.trustedHosts.join(" "),
    ...(pip.indexes.length === 0 ? { "no-index": "true" } : {}),
  };
  const lines = Object.entries(settings).flatMap(([name, value]) => (value ? [`${name} = ${value}\n`] : []));
  const { stdout } = await inFoundry(
    {
      command: ["python3", "-B", "/scripts/python-resolve.py"],
      inputs: given,
      network: true,
      stdin: JSON.stringify({ pip: `[global]\n${lines.join("")}`, netrc: (await readNetrc()) ?? null, closures }),
      hint: "correct the requirements, or pip's configuration of this host (index-url, find-links)",
    },
    tools,
  );
  return answerSchema.parse(JSON.parse(stdout));
}

/** Runs a script in the foundry root; its complaints are the spec's, not the machine's. */
async function inFoundry(
  job: Pick<SandboxJob, "command" | "inputs" | "network" | "stdin"> & { hint: string },
  { foundry, epoch, scratch, context }: PythonTools,
): Promise<{ stdout: string }> {
  try {
    return await runInSandbox({
      ...job,
      root: foundry.directory,
      out: scratch,
      epoch,
      signal: context.signal,
      timeoutMs: 20 * 60_000,
    });
  } catch (error) {
    if (!(error instanceof KubedosError) || error.code !== "failed" || error.hint !== undefined) throw error;
    throw new KubedosError("spec", `Python distributions: ${pipReason(error.message)}`, {
      hint: job.hint,
      cause: error,
    });
  }
}

/** pip's own lines of complaint, credentials in URLs masked; else all that there is. */
function pipReason(message: string): string {
  const lines = message.split("\n").filter((line) => /ERROR: /.test(line));
  const text = lines.length > 0 ? lines.map((line) => line.replace(/^.*?ERROR: /, "")).join("\n") : message;
  return text.replaceAll(/\/\/[^/\s@]*@/g, "//***@");
}

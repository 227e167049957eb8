import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import type { ShellResult } from "../converge/gates/types.ts";
import type { RunContext } from "../host/context.ts";
import type { SpecPaths } from "../host/paths.ts";
import { run } from "../host/run.ts";
import { KubedosError } from "../../shared/error.ts";
import { sshCommand } from "../substrates/operator.ts";

const defaultTimeoutMs = 60_000;
/** ssh(1): "255 if an error occurred"; everything else is the command's own. */
const sshFailed = 255;

/**
 * Runs one command on a node over the operator's way in (`Shell`).
 *
 * @throws KubedosError when the node cannot be reached or the time limit is over
 */
export async function operatorShell(
  cluster: { paths: SpecPaths; layer: ClusterLayer },
  node: string,
  command: readonly string[],
  options: { input?: string; timeoutMs?: number } = {},
  context: Pick<RunContext, "signal">,
): Promise<ShellResult> {
  const ssh = await sshCommand(cluster.paths, cluster.layer, node, ["--", ...command]);
  const result = await run(ssh.command, ssh.args, {
    ...(options.input !== undefined && { input: options.input }),
    timeoutMs: options.timeoutMs ?? defaultTimeoutMs,
    okStatuses: Array.from({ length: 256 }, (_, status) => status),
    signal: context.signal,
  });
  if (result.status === sshFailed) {
    throw new KubedosError("failed", `${node} cannot be reached over SSH: ${result.stderr.trim().split("\n").at(-1)}`, {
      hint: `kubedos status; kubedos console ${node}`,
    });
  }
  return result;
}

import type { LayerNode } from "../../../shared/cluster-layer.ts";
import type { GateContext } from "./types.ts";

const timeoutMs = 120_000;

/** What a command says on a node. @throws Error when its exit status is another than these */
export async function output(
  context: GateContext,
  node: LayerNode,
  command: readonly string[],
  okStatuses: readonly number[] = [0],
): Promise<string> {
  const { status, stdout, stderr } = await context.shell(node.name, command, { timeoutMs });
  if (!okStatuses.includes(status)) throw new Error(`${command.join(" ")}: exit status ${status}: ${stderr.trim()}`);
  return stdout;
}

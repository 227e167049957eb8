import { agentHttpPort, type AgentStatus } from "../../shared/agent-api.ts";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { KubedosError } from "../../shared/error.ts";
import { operatorCommonName, pkiFile } from "../../shared/pki.ts";
import { type Material, serveMembers } from "./members.ts";
import type { NodePaths } from "./paths.ts";
import { readText } from "./text.ts";

const reloadMs = 30_000;
const maxConnections = 32;

/**
 * `GET /status` over mutual TLS on one address of the control plane, for nodes and operators of the cluster layer.
 * A renewed certificate is taken up without a restart.
 *
 * @throws when the address cannot be bound, or the seed holds no certificate
 */
export async function serveStatus(
  paths: NodePaths,
  layer: ClusterLayer,
  address: string,
  status: () => Promise<AgentStatus>,
): Promise<void> {
  const known = new Set([
    ...layer.nodes.map(({ name }) => name),
    ...layer.operators.map(({ name }) => operatorCommonName(name)),
  ]);
  let material = readMaterial(paths);
  if (material === undefined) throw new KubedosError("failed", "the seed holds no certificate for the agent");
  const listen = { address, port: agentHttpPort, maxConnections };
  const server = await serveMembers(layer, known, listen, material, ({ request, answer }) => {
    request.resume();
    if (request.url !== "/status") return answer(404, { error: "there is only /status" });
    if (request.method !== "GET" && request.method !== "HEAD") return answer(405, { error: "only GET" });
    status().then(
      (value) => answer(200, value),
      () => answer(500, { error: "the status cannot be read" }),
    );
  });
  setInterval(() => {
    const fresh = readMaterial(paths);
    if (fresh === undefined || fresh.cert === material?.cert) return;
    material = fresh;
    server.renew(fresh);
  }, reloadMs).unref();
}

/** The agent's own certificate as it is on disk now. */
export function readMaterial(paths: NodePaths): Material | undefined {
  const cert = readText(paths.at(pkiFile("agent", "crt")));
  const key = readText(paths.at(pkiFile("agent", "key")));
  return cert === undefined || key === undefined ? undefined : { cert, key };
}

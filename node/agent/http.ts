import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { agentHttpPort, type AgentStatus } from "../../shared/agent-api.ts";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { KubedosError } from "../../shared/error.ts";
import { operatorCommonName, pkiFile } from "../../shared/pki.ts";
import type { NodePaths } from "./paths.ts";
import { readText } from "./text.ts";

const reloadMs = 30_000;

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
  // Loaded here: it costs a slow machine a noticeable part of a second that the planes should not wait for.
  const [{ createServer }, { X509Certificate: Certificate }] = await Promise.all([
    import("node:https"),
    import("node:crypto"),
  ]);
  const { pki } = layer;
  if (pki === undefined) throw new KubedosError("failed", "the cluster layer has no PKI");
  const authority = new Certificate(pki.authorities.agent);
  const known = new Set([...layer.nodes.map(({ name }) => name), ...layer.operators.map(operatorName)]);
  let material = readMaterial(paths);
  if (material === undefined) throw new KubedosError("failed", "the seed holds no certificate for the agent");
  // OpenSSL wants a chain up to a root; that it goes through the agents' own authority is checked below.
  const trust = { ca: [pki.root, pki.authorities.agent], minVersion: "TLSv1.3" as const };
  const options = {
    ...trust,
    requestCert: true,
    rejectUnauthorized: true,
    maxHeaderSize: 4096,
    requestTimeout: 10_000,
  };
  const server = createServer({ ...options, ...material }, (request, response) => {
    function answer(code: number, body: unknown): void {
      response.writeHead(code, { "content-type": "application/json", "cache-control": "no-store" });
      response.end(`${JSON.stringify(body)}\n`);
    }
    request.resume();
    const peer = (request.socket as TLSSocket).getPeerX509Certificate();
    if (!isKnown(peer, authority, known)) return answer(403, { error: "not a member of this cluster" });
    if (request.url !== "/status") return answer(404, { error: "there is only /status" });
    if (request.method !== "GET" && request.method !== "HEAD") return answer(405, { error: "only GET" });
    status().then(
      (value) => answer(200, value),
      () => answer(500, { error: "the status cannot be read" }),
    );
  });
  server.maxConnections = 32;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(agentHttpPort, address, resolve);
  });
  setInterval(() => {
    const fresh = readMaterial(paths);
    if (fresh === undefined || fresh.cert === material?.cert) return;
    material = fresh;
    server.setSecureContext({ ...trust, ...fresh });
  }, reloadMs).unref();
}

function isKnown(peer: X509Certificate | undefined, authority: X509Certificate, known: ReadonlySet<string>): boolean {
  if (peer === undefined || !peer.verify(authority.publicKey)) return false;
  const name = /^CN=(.*)$/m.exec(peer.subject)?.[1];
  return name !== undefined && known.has(name);
}

function operatorName({ name }: { name: string }): string {
  return operatorCommonName(name);
}

function readMaterial(paths: NodePaths): { cert: string; key: string } | undefined {
  const cert = readText(paths.at(pkiFile("agent", "crt")));
  const key = readText(paths.at(pkiFile("agent", "key")));
  return cert === undefined || key === undefined ? undefined : { cert, key };
}

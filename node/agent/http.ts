import { agentHttpPort, type AgentStatus } from "../../shared/agent-api.ts";

/**
 * `GET /status` on one address of the control plane.
 *
 * @throws when the address cannot be bound
 */
export async function serveStatus(address: string, status: () => Promise<AgentStatus>): Promise<void> {
  // Loaded here: it costs a slow machine a noticeable part of a second that the planes should not wait for.
  const { createServer } = await import("node:http");
  const server = createServer({ maxHeaderSize: 4096, requestTimeout: 10_000 }, (request, response) => {
    function answer(code: number, body: unknown): void {
      response.writeHead(code, { "content-type": "application/json", "cache-control": "no-store" });
      response.end(`${JSON.stringify(body)}\n`);
    }
    request.resume();
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
}

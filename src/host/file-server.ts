import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { KubedosError } from "../../shared/error.ts";

/** What is answered for one path: a file of the host, or bytes. */
export type Served = { file: string } | { content: Uint8Array };

/** One request that has been answered, or broken off by the client. */
export interface ServedRequest {
  /** Address of the client. */
  client: string;
  /** Path with its leading slash. */
  path: string;
  status: number;
  /** The client took all of it. */
  whole: boolean;
}

/**
 * Serves a fixed list of files by HTTP (GET and HEAD) on one address until it is closed. Nothing else is reachable:
 * a path is a key of `files`, never a name on the disk; repeated slashes in it count as one.
 *
 * @param port 0: any that is free
 * @throws KubedosError when the address cannot be listened on
 */
export async function serveFiles(
  { address, port }: { address: string; port: number },
  files: ReadonlyMap<string, Served>,
  onRequest: (request: ServedRequest) => void,
): Promise<{ port: number; close(): Promise<void> }> {
  const server = http.createServer((request, response) => {
    // A shim asks for `//grubx64.efi` beside `/shimx64.efi`.
    const path = (request.url ?? "").split("?")[0]!.replaceAll(/\/{2,}/g, "/");
    const served = request.method === "GET" || request.method === "HEAD" ? files.get(path) : undefined;
    const client = (request.socket.remoteAddress ?? "").replace(/^::ffff:/, "");
    answer(served, request.method === "HEAD", response).then(
      (whole) => onRequest({ client, path, status: response.statusCode, whole }),
      () => {
        response.destroy();
        onRequest({ client, path, status: response.statusCode, whole: false });
      },
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(
        new KubedosError("failed", `cannot listen on ${address}:${port}: ${cause.message}`, {
          cause,
          hint: "choose another --port, or end what listens there (`ss -ltnp`)",
        }),
      ),
    );
    server.listen(port, address, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(served: Served | undefined, headOnly: boolean, response: http.ServerResponse): Promise<boolean> {
  if (served === undefined) {
    // Firmware waits for the end of the connection before it says that nothing is there.
    response.writeHead(404, { "content-length": 0, connection: "close" }).end();
    return true;
  }
  const length = "file" in served ? (await stat(served.file)).size : served.content.length;
  response.writeHead(200, { "content-length": length, "content-type": "application/octet-stream" });
  if (headOnly) response.end();
  else if ("content" in served) response.end(served.content);
  else await pipeline(createReadStream(served.file, { highWaterMark: 1 << 20 }), response);
  return true;
}

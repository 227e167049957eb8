import { readFile } from "node:fs/promises";
import http from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { join, normalize } from "node:path";

const cutDelayMs = 50;

/** How the mirror treats one file. Byte counts are of the answer's body. */
export interface Misbehaviour {
  /** Sends this many bytes and then nothing more, with the connection open. */
  stallAfter?: number;
  /** Sends this many bytes and closes the connection. */
  cutAfter?: number;
  /** Changes one byte. */
  alter?: boolean;
  status?: number;
  redirectTo?: string;
  /** Ignores Range headers. */
  noRange?: boolean;
  /** For how many requests it misbehaves. Default: for all. */
  times?: number;
  /** Waits before it answers. */
  delayMs?: number;
}

export interface FakeMirror {
  /** `http://127.0.0.1:port`. */
  url: string;
  files: Map<string, Uint8Array>;
  misbehave: Map<string, Misbehaviour>;
  requests: { path: string; range?: string; authorization?: string }[];
  close(): Promise<void>;
}

/** A fake HTTP mirror on loopback: serves `files`, then files below `directory`, and misbehaves as told. */
export async function startFakeMirror(directory?: string): Promise<FakeMirror> {
  const files = new Map<string, Uint8Array>();
  const misbehave = new Map<string, Misbehaviour>();
  const requests: FakeMirror["requests"] = [];
  const sockets = new Set<Socket>();

  const server = http.createServer((request, response) => {
    void answer(request, response);
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });

  async function answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    // A proxy is asked with the whole URL.
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://fake").pathname);
    requests.push({ path, range: request.headers.range, authorization: request.headers.authorization });
    const rule = active(path);
    if (rule.delayMs !== undefined) await new Promise((resolve) => setTimeout(resolve, rule.delayMs));
    if (rule.redirectTo !== undefined) return void response.writeHead(302, { location: rule.redirectTo }).end();
    if (rule.status !== undefined) return void response.writeHead(rule.status).end();
    let bytes = files.get(path);
    if (bytes === undefined && directory !== undefined) {
      bytes = await readFile(join(directory, normalize(path))).catch(() => undefined);
    }
    if (bytes === undefined) return void response.writeHead(404).end();
    if (rule.alter) {
      bytes = Uint8Array.from(bytes);
      bytes[bytes.length >> 1]! ^= 1;
    }
    const start = rule.noRange ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const body = bytes.subarray(start);
    const range = { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` };
    response.writeHead(start > 0 ? 206 : 200, { "content-length": body.length, ...(start > 0 ? range : {}) });
    const limit = rule.stallAfter ?? rule.cutAfter;
    if (limit === undefined) return void response.end(body);
    response.write(body.subarray(0, limit), () => {
      // A moment later: what a client has not read when the connection breaks is lost to it.
      if (rule.cutAfter !== undefined) setTimeout(() => response.socket?.destroy(), cutDelayMs);
    });
  }

  function active(path: string): Misbehaviour {
    const rule = misbehave.get(path);
    if (rule === undefined) return {};
    if (rule.times === undefined) return rule;
    if (rule.times === 0) return {};
    rule.times--;
    return rule;
  }

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    files,
    misbehave,
    requests,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

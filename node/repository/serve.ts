import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Archive, Member } from "./archive.ts";

const chunkBytes = 256 * 1024;

/**
 * Serves the files of an archive over HTTP/1.1, read-only, as apt fetches them: GET and HEAD, one byte range,
 * If-Modified-Since and If-Range (RFC 9110); for pip, a directory is its index.html. Names are looked up in the archive's own list, so that nothing else can be asked for.
 *
 * @throws when the address cannot be bound
 */
export async function serveArchive(archive: Archive, address: string, port: number): Promise<Server> {
  const server = createServer({ maxHeaderSize: 8192, requestTimeout: 30_000 }, (request, response) => {
    request.resume();
    answer(archive, request, response).catch(() => response.destroy());
  });
  server.maxConnections = 256;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, address, resolve);
  });
  return server;
}

async function answer(archive: Archive, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== "GET" && request.method !== "HEAD") return refuse(response, 405, { allow: "GET, HEAD" });
  const asked = nameOf(request.url ?? "");
  const name = asked.endsWith("/") ? `${asked}index.html` : asked;
  const member = archive.members.get(name);
  if (member === undefined) return refuse(response, 404);
  const modified = new Date(member.modifiedAt * 1000).toUTCString();
  const headers = { "accept-ranges": "bytes", "last-modified": modified };
  if (request.headers.range === undefined && isUnchanged(request, member)) {
    response.writeHead(304, headers).end();
    return;
  }
  const range = rangeOf(request, member, modified);
  if (range === "unsatisfiable") return refuse(response, 416, { "content-range": `bytes */${member.sizeBytes}` });
  const { first, last } = range ?? { first: 0, last: member.sizeBytes - 1 };
  const partial = range === undefined ? {} : { "content-range": `bytes ${first}-${last}/${member.sizeBytes}` };
  response.writeHead(range === undefined ? 200 : 206, {
    ...headers,
    ...partial,
    "content-length": last - first + 1,
    "content-type": name.endsWith(".html") ? "text/html" : "application/octet-stream",
  });
  if (request.method === "HEAD") {
    response.end();
    return;
  }
  await pipeline(Readable.from(bytesOf(archive, member.offsetBytes + first, last - first + 1)), response);
}

async function* bytesOf({ handle }: Archive, from: number, length: number): AsyncGenerator<Buffer> {
  for (let done = 0; done < length;) {
    const buffer = Buffer.alloc(Math.min(chunkBytes, length - done));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, from + done);
    if (bytesRead === 0) throw new Error("the archive ends too early");
    done += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

function refuse(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  response.writeHead(status, { ...headers, "content-length": 0 }).end();
}

/** Path of the request without its slash; empty for what cannot be one. */
function nameOf(url: string): string {
  try {
    return decodeURIComponent(url.replace(/[?#].*$/, "")).replace(/^\/+/, "");
  } catch {
    return "";
  }
}

function isUnchanged(request: IncomingMessage, member: Member): boolean {
  const since = Date.parse(request.headers["if-modified-since"] ?? "");
  return !Number.isNaN(since) && member.modifiedAt * 1000 <= since;
}

/** RFC 9110, 14.2: one range is served; several, or a file that has changed, get the whole file. */
function rangeOf(
  request: IncomingMessage,
  { sizeBytes }: Member,
  modified: string,
): { first: number; last: number } | "unsatisfiable" | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? "");
  const condition = request.headers["if-range"];
  if (match === null || (condition !== undefined && condition !== modified)) return undefined;
  const [, from = "", to = ""] = match;
  if (from === "" && to === "") return undefined;
  const first = from === "" ? Math.max(0, sizeBytes - Number(to)) : Number(from);
  const last = from === "" || to === "" ? sizeBytes - 1 : Math.min(Number(to), sizeBytes - 1);
  return first > last ? "unsatisfiable" : { first, last };
}

import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rm, stat, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { KubedosError } from "../../shared/error.ts";
import { safeUrl, type HttpClient } from "../host/http.ts";

/** What one attempt to fetch a file from one place came to. */
export type FetchOutcome =
  | { kind: "done" }
  /** The place does not have the file. */
  | { kind: "absent"; detail: string }
  /** All bytes came, and they are not the ones asked for. Nothing is kept. `continued`: some were from before. */
  | { kind: "wrong"; detail: string; continued: boolean }
  /** The transfer broke; what came is kept in the part file. */
  | { kind: "broken"; detail: string };

export interface FetchRequest {
  url: URL;
  /** More headers of the request, for this server only. */
  headers?: Record<string, string>;
  sha256: string;
  sizeBytes: number;
  /** Where the bytes are collected; an existing one is continued. */
  part: string;
  stallMs: number;
  signal: AbortSignal;
  /** Called with the number of bytes that are in the part file now; it can go down when they are thrown away. */
  onPosition(bytes: number): void;
}

/**
 * Fetches one file into `part`, continuing what is there, and checks size and sha256 as the bytes pass.
 *
 * @throws only the signal's reason, or when the local disk fails (full, not writable)
 */
export async function fetchFile(client: HttpClient, request: FetchRequest): Promise<FetchOutcome> {
  await mkdir(dirname(request.part), { recursive: true });
  return request.url.protocol === "file:" ? fetchLocal(request) : fetchRemote(client, request);
}

async function fetchLocal(request: FetchRequest): Promise<FetchOutcome> {
  const source = fileURLToPath(request.url);
  const info = await stat(source).catch(() => undefined);
  if (info === undefined) return { kind: "absent", detail: `${source}: no such file` };
  const body = createReadStream(source, { highWaterMark: 1 << 20 });
  return receive(request, body, 0, createHash("sha256"), source);
}

async function fetchRemote(client: HttpClient, request: FetchRequest): Promise<FetchOutcome> {
  const { url, signal, stallMs, part, sizeBytes } = request;
  const place = safeUrl(url);
  const { hash, have } = await hashPart(part, sizeBytes);
  if (have === sizeBytes) return finish(request, hash, place, true);
  let answer;
  try {
    const headers = { ...request.headers, ...(have > 0 ? { range: `bytes=${have}-` } : {}) };
    answer = await client.get(url, { headers, stallMs, signal });
  } catch (error) {
    signal.throwIfAborted();
    return { kind: "broken", detail: (error as Error).message };
  }
  const { status, body } = answer;
  if (status === 206 && have > 0 && rangeStart(answer.headers["content-range"]) === have) {
    return receive(request, body, have, hash, place);
  }
  if (status === 200) return receive(request, body, 0, createHash("sha256"), place); // the server sends all of it
  body.destroy();
  if (status === 404 || status === 410) return { kind: "absent", detail: `${place}: ${status}` };
  if (status === 206 || status === 416) {
    await rm(part, { force: true });
    return { kind: "broken", detail: `${place}: the server sent another range than asked for` };
  }
  const credentials =
    status === 401 || status === 403 || status === 407 ? " (credentials: see apt's auth.conf, ~/.netrc)" : "";
  return { kind: "broken", detail: `${place}: the server answered ${status}${credentials}` };
}

/** Appends a body to the part file from byte `start` on. */
async function receive(
  request: FetchRequest,
  body: Readable,
  start: number,
  hash: Hash,
  place: string,
): Promise<FetchOutcome> {
  const { part, sizeBytes, signal } = request;
  const handle = await open(part, start > 0 ? "r+" : "w", 0o600);
  let position = start;
  const onAbort = () => body.destroy(signal.reason as Error);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      if (position + chunk.length > sizeBytes) {
        // More bytes than the lock names: never write without bound.
        request.onPosition(0);
        await rm(part, { force: true });
        return {
          kind: "wrong",
          detail: `${place}: longer than the ${sizeBytes} bytes of the lock`,
          continued: start > 0,
        };
      }
      await writeAll(handle, part, chunk, position);
      hash.update(chunk);
      position += chunk.length;
      request.onPosition(position);
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof KubedosError) throw error; // our own disk
    const why = (error as Error).message;
    return { kind: "broken", detail: `${place}: stopped after ${position} of ${sizeBytes} bytes (${why})` };
  } finally {
    signal.removeEventListener("abort", onAbort);
    body.destroy();
    await handle.close();
  }
  if (position < sizeBytes) {
    return { kind: "broken", detail: `${place}: ended after ${position} of ${sizeBytes} bytes` };
  }
  return finish(request, hash, place, start > 0);
}

async function finish(request: FetchRequest, hash: Hash, place: string, continued: boolean): Promise<FetchOutcome> {
  const got = hash.digest("hex");
  if (got === request.sha256) return { kind: "done" };
  await rm(request.part, { force: true });
  request.onPosition(0);
  return { kind: "wrong", detail: `${place}: sha256 is ${got}, the lock says ${request.sha256}`, continued };
}

/** Hash state over the bytes that came in an earlier attempt; a part that is too long is thrown away. */
async function hashPart(part: string, sizeBytes: number): Promise<{ hash: Hash; have: number }> {
  const size = (await stat(part).catch(() => undefined))?.size ?? 0;
  if (size === 0 || size > sizeBytes) return { hash: createHash("sha256"), have: 0 };
  const hash = createHash("sha256");
  let have = 0;
  for await (const chunk of createReadStream(part) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    have += chunk.length;
  }
  return { hash, have };
}

async function writeAll(handle: FileHandle, file: string, chunk: Buffer, position: number): Promise<void> {
  try {
    for (let done = 0; done < chunk.length;) {
      const { bytesWritten } = await handle.write(chunk, done, chunk.length - done, position + done);
      done += bytesWritten;
    }
  } catch (cause) {
    const full = ["ENOSPC", "EDQUOT"].includes((cause as NodeJS.ErrnoException).code ?? "");
    throw new KubedosError("failed", `cannot write ${file}: ${full ? "no space left" : (cause as Error).message}`, {
      hint: full
        ? "make room (`kubedos store gc`), or set KUBEDOS_CACHE to a larger disk; what came is kept"
        : undefined,
      cause,
    });
  }
}

/** First byte of `bytes 100-199/200` (RFC 9110, 14.4). */
function rangeStart(header: string | undefined): number | undefined {
  const match = /^bytes (\d+)-/.exec(header ?? "");
  return match === null ? undefined : Number(match[1]);
}

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rm, stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { KubedosError } from "../../shared/error.ts";
import { nameFullDisk } from "../host/disk.ts";
import { safeUrl, type HttpClient } from "../host/http.ts";
import type { Store } from "../store/store.ts";

export interface NewContent {
  url: URL;
  client: HttpClient;
  headers?: Record<string, string>;
  /** More bytes than this are refused. */
  maxBytes: number;
  signal: AbortSignal;
}

const stallMs = 30_000;
const credentialsHint: Record<number, string> = {
  401: "write credentials for this server into ~/.netrc",
  403: "write credentials for this server into ~/.netrc",
  404: "correct the URL in the spec",
};

/**
 * Fetches what no lock names yet into the store. For locking only: the caller pins the hash that comes out.
 *
 * @throws KubedosError that names the URL and the reason
 */
export async function fetchNew(content: NewContent, store: Store): Promise<{ sha256: string; sizeBytes: number }> {
  const { body, place } = await openBody(content);
  const file = await store.temporary();
  const hash = createHash("sha256");
  let sizeBytes = 0;
  try {
    const handle = await open(file, "wx", 0o600);
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) {
        sizeBytes += chunk.length;
        if (sizeBytes > content.maxBytes) {
          throw new KubedosError("failed", `${place}: longer than ${content.maxBytes} bytes`);
        }
        await handle.write(chunk);
        hash.update(chunk);
      }
    } finally {
      await handle.close();
    }
    if (sizeBytes === 0) throw new KubedosError("failed", `${place}: empty`);
    return await store.putFile(file, hash.digest("hex"));
  } catch (error) {
    await rm(file, { force: true });
    content.signal.throwIfAborted();
    if (error instanceof KubedosError) throw error;
    const named = await nameFullDisk(error, store.directory);
    throw named instanceof KubedosError
      ? named
      : new KubedosError("failed", `${place}: ${(named as Error).message}`, { hint: "try again", cause: named });
  } finally {
    body.destroy();
  }
}

/** Size that the server announces for a file; undefined when it does not say. Nothing is transferred. */
export async function announcedSize(content: Omit<NewContent, "maxBytes">): Promise<number | undefined> {
  if (content.url.protocol === "file:") return (await stat(fileURLToPath(content.url)).catch(() => undefined))?.size;
  const { body, sizeBytes } = await openBody(content);
  body.destroy();
  return sizeBytes;
}

/** A text that is read as a whole, at most `maxBytes` long, with the headers that came with it. */
export async function fetchText(
  content: NewContent,
): Promise<{ text: string; headers: Record<string, string | string[] | undefined>; url: URL }> {
  const { bytes, headers, url } = await readWhole(content);
  return { text: bytes.toString("utf8"), headers, url };
}

/**
 * A small content whose hash is known, read as a whole.
 *
 * @throws KubedosError that names the content and both hashes when it is another
 */
export async function readVerified(content: NewContent, sha256: string, what: string): Promise<Buffer> {
  const { bytes } = await readWhole(content);
  const got = createHash("sha256").update(bytes).digest("hex");
  if (got === sha256) return bytes;
  throw new KubedosError("failed", `${what} has sha256 ${got}, not ${sha256}`, {
    hint: "the server or something on the way alters it: do not use it; find out who altered it",
  });
}

/** A content that is read as a whole, at most `maxBytes` long. */
export async function readWhole(
  content: NewContent,
): Promise<{ bytes: Buffer; headers: Record<string, string | string[] | undefined>; url: URL }> {
  const { body, place, headers, url } = await openBody(content);
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > content.maxBytes) {
        throw new KubedosError("failed", `${place}: longer than ${content.maxBytes} bytes`);
      }
      chunks.push(chunk);
    }
  } catch (error) {
    content.signal.throwIfAborted();
    if (error instanceof KubedosError) throw error;
    throw new KubedosError("failed", `${place}: ${(error as Error).message}`, { hint: "try again", cause: error });
  } finally {
    body.destroy();
  }
  return { bytes: Buffer.concat(chunks), headers, url };
}

async function openBody(content: Omit<NewContent, "maxBytes">): Promise<{
  body: Readable;
  place: string;
  sizeBytes?: number;
  headers: Record<string, string | string[] | undefined>;
  url: URL;
}> {
  const { url, client, headers, signal } = content;
  if (url.protocol === "file:") {
    const path = fileURLToPath(url);
    const info = await stat(path).catch(() => undefined);
    if (info?.isFile() !== true) throw new KubedosError("failed", `${path}: no such file`);
    return { body: createReadStream(path), place: path, sizeBytes: info.size, headers: {}, url };
  }
  const answer = await client.get(url, { headers, stallMs, signal });
  const place = safeUrl(url);
  if (answer.status !== 200) {
    answer.body.destroy();
    throw new KubedosError("failed", `${place}: the server answered ${answer.status}`, {
      hint: credentialsHint[answer.status] ?? "check the URL, the network and the proxy variables, and try again",
    });
  }
  const length = answer.headers["content-length"];
  const sizeBytes = length === undefined ? undefined : Number(length);
  return { body: answer.body, place, sizeBytes, headers: answer.headers, url: answer.url };
}

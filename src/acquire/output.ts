import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { KubedosError } from "../../shared/error.ts";
import type { RunContext } from "../host/context.ts";
import { createHttpClient, safeUrl, type HttpClient, type HttpSettings } from "../host/http.ts";
import { manifestFiles, parseManifest } from "../seal/manifest.ts";
import { acquireSources } from "./acquire.ts";

const stallMs = 30_000;
/** More than any manifest, signature or provenance of ours has. */
const mostTextBytes = 64 * 1024 * 1024;
const stage = "fetch";

/**
 * Fetches a published output for `verify`: its manifest, and the files that this names and no others, each up to the
 * size that it says. Nothing is believed yet.
 *
 * @param address http(s) URL of the output directory, or of one artifact in it
 * @returns the name of the artifact, when the address is one
 * @throws KubedosError when the server has no manifest there, or does not answer
 */
export async function fetchOutput(address: URL, into: string, context: RunContext): Promise<{ only?: string }> {
  const { signal } = context;
  if (context.offline) throw new KubedosError("offline", `${safeUrl(address)} is not fetched: --offline`);
  const client = createHttpClient(await settings(signal), 4);
  try {
    const last = address.pathname.split("/").at(-1) ?? "";
    const isFile = /\.\w+$/.test(last);
    const base = new URL(isFile ? "./" : `${address.pathname.replace(/\/*$/, "")}/`, address);
    const fetchOne = (name: string, limit: number) =>
      fetchFileTo(client, new URL(name, base), join(into, name), limit, context);
    if (!(await fetchOne(manifestFiles.manifest, mostTextBytes))) {
      throw new KubedosError("usage", `there is no ${manifestFiles.manifest} at ${safeUrl(base)}`, {
        hint: "name the URL of an output directory of a build, or of an artifact in it",
      });
    }
    const only = isFile && last !== manifestFiles.manifest ? decodeURIComponent(last) : undefined;
    const statements = [manifestFiles.signature, manifestFiles.cosignSignature, manifestFiles.provenance];
    for (const name of statements) await fetchOne(name, mostTextBytes);
    const manifest = parseManifest(await readFile(join(into, manifestFiles.manifest), "utf8"), manifestFiles.manifest);
    const artifacts = manifest.artifacts.filter(({ file }) => only === undefined || file === only);
    for (const { file, sizeBytes } of [...manifest.documents, ...artifacts]) await fetchOne(file, sizeBytes);
    return only === undefined ? {} : { only };
  } finally {
    client.close();
  }
}

/** The host's way to servers, where it has apt to tell; else straight there. */
async function settings(signal: AbortSignal): Promise<HttpSettings> {
  try {
    return (await acquireSources([], signal)).http;
  } catch {
    signal.throwIfAborted();
    return {
      proxyFor: () => Promise.resolve(undefined),
      credentialsFor: () => undefined,
      certificatesFor: () => ({ verify: true }),
    };
  }
}

/** Whether the server has it. At most one byte more than `limit` is written: then its size is wrong. */
async function fetchFileTo(
  client: HttpClient,
  url: URL,
  path: string,
  limit: number,
  { emit, signal }: RunContext,
): Promise<boolean> {
  const { status, body } = await client.get(url, { stallMs, signal });
  if (status === 404 || status === 410) {
    body.resume();
    return false;
  }
  if (status !== 200) {
    body.destroy();
    throw new KubedosError("failed", `${safeUrl(url)}: the server answered ${status}`, {
      hint: "check the URL, and whether it wants credentials",
    });
  }
  let done = 0;
  async function* capped(chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      const take = chunk.subarray(0, Math.max(0, limit + 1 - done));
      done += take.length;
      emit({ type: "stage.progress", stage, done, total: limit, unit: "bytes", note: safeUrl(url) });
      yield take;
      if (done > limit) return;
    }
  }
  await pipeline(body, capped, createWriteStream(path), { signal });
  return true;
}

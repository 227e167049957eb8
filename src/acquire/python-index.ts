import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { KubedosError } from "../../shared/error.ts";
import { createHttpClient, type HttpClient } from "../host/http.ts";
import { readPipConfig, type PipConfig } from "../host/pip-config.ts";
import { fetchText } from "./fetch-new.ts";
import type { Place } from "./places.ts";
import { webSettings } from "./web.ts";

/** A file that an index offers. */
export interface IndexFile {
  filename: string;
  url: string;
  /** Absent: the index does not say. */
  sha256?: string;
}

/** Finds files of Python distributions where the host's pip would look. */
export interface PythonIndex {
  config: PipConfig;
  /** Places of a file with this name whose announced hash, if there is one, is this. */
  places(project: string, filename: string, sha256: string, signal: AbortSignal): Promise<Place[]>;
}

const maxPageBytes = 64 * 1024 * 1024;
const jsonType = "application/vnd.pypi.simple.v1+json";

/** The indexes and links of pip's own configuration (see `readPipConfig`). */
export async function openPythonIndex(): Promise<PythonIndex> {
  const config = await readPipConfig();
  const client = createHttpClient(await webSettings(config), 8);
  const pages = new Map<string, Promise<IndexFile[]>>();
  const page = (url: string, signal: AbortSignal) => {
    const known = pages.get(url) ?? readPage(client, new URL(url), signal);
    pages.set(url, known);
    return known;
  };
  return {
    config,
    async places(project, filename, sha256, signal) {
      const found: Place[] = [];
      const failures: unknown[] = [];
      const add = (base: string, files: readonly IndexFile[]) => {
        for (const file of files) {
          if (file.filename !== filename || (file.sha256 ?? sha256) !== sha256) continue;
          found.push({ base, url: new URL(file.url), client });
        }
      };
      for (const place of config.findLinks) {
        if (/^https?:/.test(place)) add(place, await page(place, signal));
        else add(place, await listDirectory(place, filename));
      }
      for (const index of config.indexes) {
        if (found.length > 0) break;
        try {
          add(index, await page(`${index.replace(/\/+$/, "")}/${project}/`, signal));
        } catch (error) {
          signal.throwIfAborted();
          failures.push(error);
        }
      }
      // An index that did not answer is another thing than one that no longer has the file.
      if (found.length === 0 && failures.length > 0 && !failures.every(isAbsence)) throw failures[0];
      return found;
    },
  };
}

/** A page of the simple repository API, HTML or JSON (PEP 503, PEP 691). */
export function parseIndexPage(text: string, contentType: string, base: URL): IndexFile[] {
  if (contentType.startsWith("application/") && contentType.includes("json")) {
    const { files } = JSON.parse(text) as {
      files: { filename: string; url: string; hashes?: Record<string, string> }[];
    };
    return files.map(({ filename, url, hashes }) => ({
      filename,
      url: new URL(url, base).href,
      sha256: hashes?.["sha256"],
    }));
  }
  const files: IndexFile[] = [];
  for (const [, , quoted] of text.matchAll(/<a\s[^>]*?href\s*=\s*(["'])(.*?)\1/gis)) {
    const reference = quoted!.replaceAll("&amp;", "&");
    if (!URL.canParse(reference, base.href)) continue;
    const url = new URL(reference, base);
    const filename = decodeURIComponent(url.pathname.split("/").at(-1) ?? "");
    const sha256 = /(?:^#|&)sha256=([0-9a-f]{64})/.exec(url.hash)?.[1];
    url.hash = "";
    files.push({ filename, url: url.href, sha256 });
  }
  return files;
}

async function readPage(client: HttpClient, url: URL, signal: AbortSignal): Promise<IndexFile[]> {
  const headers = { accept: `${jsonType}, text/html;q=0.5` };
  const answer = await fetchText({ url, client, headers, maxBytes: maxPageBytes, signal });
  return parseIndexPage(answer.text, String(answer.headers["content-type"] ?? "text/html"), answer.url);
}

async function listDirectory(place: string, filename: string): Promise<IndexFile[]> {
  if (place.endsWith(`/${filename}`)) return [{ filename, url: pathToFileURL(place).href }];
  const names = await readdir(place).catch((): string[] => []);
  return names.includes(filename) ? [{ filename, url: pathToFileURL(join(place, filename)).href }] : [];
}

function isAbsence(error: unknown): boolean {
  return error instanceof KubedosError && /the server answered (404|410)$/.test(error.message);
}

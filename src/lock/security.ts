import { readFile, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { KubedosError } from "../../shared/error.ts";
import { readWhole } from "../acquire/fetch-new.ts";
import { webSettings } from "../acquire/web.ts";
import { sourceOf } from "../audit/audit.ts";
import { snapshotOf } from "../audit/tracker.ts";
import { nowMs } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { createHttpClient } from "../host/http.ts";
import type { Store } from "../store/store.ts";
import type { LockedSecurityData } from "./inputs.ts";
import { packageSections, type Lock } from "./types.ts";

/** Where Debian publishes what is known of vulnerabilities. */
export const debianSecurityTracker = "https://security-tracker.debian.org/tracker/data/json";

/** The tracker's document as it came. */
export interface TrackerDocument {
  bytes: Buffer;
  /** Seconds since 1970: when the server or the file says it was made, else now. */
  date: number;
  where: string;
}

/** The document is about 70 MB of text. */
const maxBytes = 1024 * 1024 * 1024;

/**
 * Fetches the tracker's document from a URL or a file.
 *
 * @returns undefined, after a warning, when Debian's own address cannot be reached; a place that was asked for by name
 *   must answer
 */
export async function fetchTracker(
  place: string | undefined,
  context: Pick<RunContext, "emit" | "signal">,
): Promise<TrackerDocument | undefined> {
  const where = place ?? debianSecurityTracker;
  try {
    if (!/^https?:/.test(where)) return await readTrackerFile(where);
    const client = createHttpClient(await webSettings(), 1);
    try {
      const headers = { "accept-encoding": "gzip" };
      const { bytes, headers: answer } = await readWhole({
        url: new URL(where),
        client,
        headers,
        maxBytes,
        signal: context.signal,
      });
      const modified = Date.parse(answer["last-modified"]?.toString() ?? "");
      return { bytes, where, date: Math.floor((Number.isNaN(modified) ? nowMs() : modified) / 1000) };
    } finally {
      client.close();
    }
  } catch (error) {
    context.signal.throwIfAborted();
    if (place !== undefined || !(error instanceof KubedosError)) throw error;
    const message = `no security data in the lock, so \`kubedos audit\` cannot work with it: ${error.message}`;
    context.emit({ type: "log", level: "warn", message });
    return undefined;
  }
}

/** Puts what a document says of a lock's own sources into the store. */
export async function lockSecurity(
  document: TrackerDocument | undefined,
  lock: Lock,
  store: Store,
): Promise<LockedSecurityData | undefined> {
  if (document === undefined) return undefined;
  const suite = lock.suites.find(({ archive }) => archive === "debian")?.suite ?? "";
  const sources = new Set(
    packageSections.flatMap((section) => (lock[section] ?? []).map((item) => sourceOf(item).name)),
  );
  const put = await store.putBytes(snapshotOf(document.bytes, suite, sources, document.where));
  return { ...put, date: document.date };
}

async function readTrackerFile(place: string): Promise<TrackerDocument> {
  const file = place.startsWith("file:") ? fileURLToPath(place) : place;
  try {
    const { mtimeMs } = await stat(file);
    return { bytes: await readFile(file), where: file, date: Math.floor(mtimeMs / 1000) };
  } catch (cause) {
    throw new KubedosError("usage", `cannot read ${file}: ${(cause as Error).message}`, {
      hint: "--security-tracker takes a URL or a file with the tracker's JSON",
      cause,
    });
  }
}

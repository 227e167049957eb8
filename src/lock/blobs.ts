import { KubedosError } from "../../shared/error.ts";
import { announcedSize, fetchNew } from "../acquire/fetch-new.ts";
import { createHttpClient } from "../host/http.ts";
import type { RunContext } from "../host/context.ts";
import { webSettings } from "../acquire/web.ts";
import type { SpecBlob } from "../spec/types.ts";
import type { Store } from "../store/store.ts";
import type { LockedBlob } from "./inputs.ts";

/** Largest file that is fetched without knowing its size: 64 GiB. */
const maxBytes = 64 * 2 ** 30;

/**
 * Pins files from the web. One whose hash the spec gives is only asked for its size; others are fetched, and what comes
 * is pinned.
 *
 * @throws KubedosError that names the file and why no URL gave it
 */
export async function lockBlobs(
  blobs: readonly SpecBlob[],
  store: Store,
  context: Pick<RunContext, "emit" | "signal">,
): Promise<LockedBlob[]> {
  const client = createHttpClient(await webSettings(), 4);
  const locked: LockedBlob[] = [];
  try {
    for (const blob of blobs) {
      const pin = await pinBlob(blob);
      const place = blob.path === undefined ? {} : { path: blob.path, mode: blob.mode };
      locked.push({ name: blob.name, sizeBytes: pin.sizeBytes, sha256: pin.sha256, ...place });
    }
  } finally {
    client.close();
  }
  return locked.toSorted((a, b) => (a.name < b.name ? -1 : 1));

  async function pinBlob({ name, urls, sha256 }: SpecBlob): Promise<{ sha256: string; sizeBytes: number }> {
    const failures: KubedosError[] = [];
    for (const text of urls) {
      const content = { url: new URL(text), client, signal: context.signal };
      try {
        const known = sha256 === undefined ? undefined : await store.size(sha256);
        const sizeBytes = sha256 === undefined ? undefined : (known ?? (await announcedSize(content)));
        if (sha256 !== undefined && sizeBytes !== undefined) return { sha256, sizeBytes };
        const made = await fetchNew({ ...content, maxBytes }, store);
        if (sha256 === undefined || sha256 === made.sha256) return made;
        failures.push(new KubedosError("failed", `${text}: sha256 is ${made.sha256}, the spec says ${sha256}`));
      } catch (error) {
        context.signal.throwIfAborted();
        if (!(error instanceof KubedosError)) throw error;
        failures.push(error);
        context.emit({ type: "log", level: "warn", message: `${name}: ${error.message}` });
      }
    }
    throw new KubedosError("failed", `cannot lock ${name}\n${failures.map((one) => `  | ${one.message}`).join("\n")}`, {
      hint: failures.find((one) => one.hint !== undefined)?.hint ?? "correct the URLs in platform.blobs",
    });
  }
}

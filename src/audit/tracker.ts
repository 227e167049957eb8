import { gunzipSync } from "node:zlib";
import * as z from "zod";
import { KubedosError } from "../../shared/error.ts";

/*
 * Debian's security tracker publishes one JSON document: source package → CVE → releases → what is known there
 * (https://security-tracker.debian.org/tracker/data/json). A lock keeps the part of it that is about its own sources
 * and suite, as an object of the store.
 */

/** What the tracker knows of one CVE in one source package and release. */
export interface TrackedIssue {
  status: "open" | "resolved" | "undetermined";
  /** First version without the flaw; `0`: the release was never affected. Absent while it is open. */
  fixedVersion?: string;
  urgency: string;
  /** Why there is no security update, e.g. `postponed`. */
  noUpdate?: string;
}

/** The snapshot that a lock refers to. */
export interface SecurityData {
  format: 1;
  /** Release that it is about, e.g. `trixie`. */
  suite: string;
  /** Source package → CVE. */
  sources: Record<string, Record<string, TrackedIssue>>;
}

const releaseSchema = z.object({
  status: z.enum(["open", "resolved", "undetermined"]),
  fixed_version: z.string().optional(),
  urgency: z.string().default("not yet assigned"),
  nodsa_reason: z.string().optional(),
  nodsa: z.string().optional(),
});
const trackerSchema = z.record(
  z.string(),
  z.record(z.string(), z.object({ releases: z.record(z.string(), z.unknown()) })),
);
const snapshotSchema = z.strictObject({
  format: z.literal(1),
  suite: z.string(),
  sources: z.record(
    z.string(),
    z.record(
      z.string(),
      z.strictObject({
        status: z.enum(["open", "resolved", "undetermined"]),
        fixedVersion: z.string().optional(),
        urgency: z.string(),
        noUpdate: z.string().optional(),
      }),
    ),
  ),
}) satisfies z.ZodType<SecurityData>;

/**
 * The part of the tracker's document that is about these sources in this suite, as text: the same document gives the
 * same bytes. The document may be compressed with gzip.
 *
 * @throws KubedosError code "failed" when it is not the tracker's document
 */
export function snapshotOf(document: Buffer, suite: string, sources: ReadonlySet<string>, where: string): string {
  const tracker = readTracker(document, where);
  const kept: SecurityData["sources"] = {};
  for (const source of [...sources].toSorted()) {
    const issues = Object.entries(tracker[source] ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1));
    const known = issues.flatMap(([cve, { releases }]) => {
      const parsed = releaseSchema.safeParse(releases[suite]);
      return parsed.success ? [[cve, issueOf(parsed.data)] as const] : [];
    });
    if (known.length > 0) kept[source] = Object.fromEntries(known);
  }
  return `${JSON.stringify({ format: 1, suite, sources: kept } satisfies SecurityData)}\n`;
}

/** @throws KubedosError when the stored text is not a snapshot, or of a newer format */
export function parseSnapshot(text: string): SecurityData {
  const parsed = snapshotSchema.safeParse(readJson(text));
  if (parsed.success) return parsed.data;
  throw new KubedosError("failed", "the lock's security data cannot be read", {
    hint: "it is of a newer kubedos, or damaged: use the newest kubedos, or run `kubedos lock --update`",
  });
}

function readTracker(document: Buffer, where: string): z.infer<typeof trackerSchema> {
  const bytes = document[0] === 0x1f && document[1] === 0x8b ? gunzipSync(document) : document;
  const parsed = trackerSchema.safeParse(readJson(bytes.toString("utf8")));
  // Debian has thousands of sources: a document without any is an error page that happens to be JSON.
  if (parsed.success && Object.keys(parsed.data).length > 0) return parsed.data;
  throw new KubedosError("failed", `${where} is not the data of Debian's security tracker`, {
    hint: "give the document that https://security-tracker.debian.org/tracker/data/json serves, or a copy of it",
  });
}

function issueOf({
  status,
  fixed_version: fixed,
  urgency,
  nodsa,
  nodsa_reason: reason,
}: z.infer<typeof releaseSchema>) {
  const noUpdate = reason || nodsa;
  return {
    status,
    ...(fixed === undefined ? {} : { fixedVersion: fixed }),
    urgency,
    ...(noUpdate ? { noUpdate } : {}),
  } satisfies TrackedIssue;
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

import type { HttpClient, HttpSettings } from "../host/http.ts";
import type { LockedObject } from "../lock/objects.ts";
import type { Mirrors } from "../lock/mirrors.ts";
import type { LockedPackage } from "../lock/types.ts";

/** A content that a lock names. A Debian package comes from its archive's mirrors, others from their `origins`. */
export type Wanted = LockedPackage | LockedObject;

/** Where one content can be fetched from. */
export interface Place {
  /** Server or mirror, for messages and for giving up on one that does not answer. */
  base: string;
  url: URL;
  client: HttpClient;
  headers?: Record<string, string>;
}

/** Where a content that is not in a Debian archive comes from. */
export interface Origin {
  /** For messages: `the Python index`. */
  where: string;
  /** Asked only when the content is missing. Empty: it is no longer there. */
  places(): Promise<Place[]>;
}

/** Where to fetch from, and how to reach it. */
export interface AcquireSources {
  mirrors: Mirrors;
  http: HttpSettings;
  /** By sha256: where contents come from that are not in a Debian archive. */
  origins?: ReadonlyMap<string, Origin>;
  /** Give a mirror up after this time without a byte. Default 30 s. */
  stallTimeoutMs?: number;
  /** Wait before the second try at a mirror; twice that before the third. Default 0.5 s. */
  retryDelayMs?: number;
}

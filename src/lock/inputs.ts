/*
 * The sections of a lock for inputs that are not Debian's packages. Each is absent when a spec asks for none. Like
 * packages they name contents by hash; where the bytes come from is the spec's and the host's business.
 */

/** What a feature or a spec asks for from the Python package index: requirements (PEP 508) installed below a prefix. */
export interface PythonRequest {
  /** Absolute directory of the image that becomes a virtual environment, e.g. `/usr/lib/kubedos/salt`. */
  prefix: string;
  /** E.g. `salt==3008.5`. */
  requirements: string[];
  /**
   * Distributions of the closure that are left out, with what only they need: optional parts, or what Debian's
   * python3-* packages bring instead. Normalised names.
   */
  without?: string[];
}

/** One distribution of a Python package, pinned. https://packaging.python.org/specifications/ */
export interface LockedWheel {
  /** Directory of the image that it is installed below. */
  prefix: string;
  /** Normalised name (PEP 503). */
  name: string;
  version: string;
  filename: string;
  /** A source distribution is built to a wheel in the foundry root. */
  kind: "wheel" | "sdist";
  sizeBytes: number;
  sha256: string;
  /** Not installed, only used to build the source distribution of this name. */
  buildOf?: string;
}

/** One file from the web, pinned. Its URLs are in the spec, under its name. */
export interface LockedBlob {
  name: string;
  sizeBytes: number;
  sha256: string;
  /** Absolute path in the image; absent: only kept in the store, for capsules and the darksite. */
  path?: string;
  /** Permissions in the image. */
  mode?: number;
}

/** One part of an OCI image: manifest, configuration or layer. */
export interface LockedDescriptor {
  mediaType: string;
  sizeBytes: number;
  sha256: string;
}

/** One OCI image for linux/amd64, pinned. https://github.com/opencontainers/image-spec */
export interface LockedImage {
  /** Full reference as the spec asks for it, e.g. `registry.k8s.io/pause:3.10`. */
  reference: string;
  /** The image's own manifest, never an index. */
  manifest: LockedDescriptor;
  config: LockedDescriptor;
  /** Lowest first. */
  layers: LockedDescriptor[];
}

/** An apt source that is not Debian's: who must have signed it. Its suites are in `suites`, under its name as archive. */
export interface LockedSource {
  name: string;
  /** Fingerprints of the primary keys that the spec's key holds, upper-case hexadecimal, sorted. */
  fingerprints: string[];
}

/** State of Debian's security tracker at lock time; the data is an object of the store. */
export interface LockedSecurityData {
  sha256: string;
  sizeBytes: number;
  /** When the data was fetched or made, seconds since 1970. */
  date: number;
}

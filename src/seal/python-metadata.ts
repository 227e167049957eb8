/** A Python distribution in a virtual environment. */
export interface Distribution {
  /** Directory of the environment. */
  prefix: string;
  /** Normalised (PEP 503). */
  name: string;
  version: string;
  /** SPDX expression, where the distribution declares one. */
  licence?: string;
}

/** Path of a distribution's metadata in an environment; its first group is the environment's directory. */
export const metadataPath = /^(\/.+)\/lib\/python3\.\d+\/site-packages\/[^/]+\.dist-info\/METADATA$/;

/**
 * Reads a METADATA file, as pip does.
 * https://packaging.python.org/en/latest/specifications/core-metadata/
 */
export function readMetadata(prefix: string, text: string): Distribution {
  const head = text.split(/\r?\n\r?\n/)[0]!;
  const field = (name: string) => new RegExp(`^${name}: *(.*?)\\r?$`, "m").exec(head)?.[1];
  const licence = field("License-Expression");
  return {
    prefix,
    name: (field("Name") ?? "").toLowerCase().replaceAll(/[-_.]+/g, "-"),
    version: field("Version") ?? "",
    ...(licence === undefined ? {} : { licence }),
  };
}

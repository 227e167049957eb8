/** Where a value is in the spec, e.g. `["nodes", 2, "index"]`. */
export type Path = readonly (string | number)[];

/** A problem before its path has become a line and a column. */
export interface Finding {
  path: Path;
  /** The problem is the key at the path's end, not its value. */
  key?: boolean;
  message: string;
  hint?: string;
}

/** `nodes[2].index`, as a person says it. */
export function formatPath(path: Path): string {
  return path.map((part, i) => (typeof part === "number" ? `[${part}]` : i === 0 ? part : `.${part}`)).join("");
}

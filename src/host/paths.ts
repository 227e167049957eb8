import { createHash } from "node:crypto";
import { homedir } from "node:os";
import { basename, dirname, extname, join, resolve } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { parseBytes } from "../../shared/size.ts";

/** Where kubedos keeps what can be made again: store, foundry roots, trees. */
export function cacheDirectory(): string {
  return process.env["KUBEDOS_CACHE"] ?? join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "kubedos");
}

/**
 * How much of the disk the cache may take after a build, in bytes: `KUBEDOS_CACHE_LIMIT`, `40GB` by default, `off` for
 * no limit.
 *
 * @throws KubedosError (usage) when the variable holds anything else
 */
export function cacheLimitBytes(): number {
  const text = process.env["KUBEDOS_CACHE_LIMIT"] ?? "40GB";
  const bytes = text === "off" ? Number.POSITIVE_INFINITY : parseBytes(text);
  if (bytes !== undefined) return bytes;
  throw new KubedosError("usage", `KUBEDOS_CACHE_LIMIT: not a size: ${text}`, {
    hint: "write for example 40GB, or off for no limit",
  });
}

/** Where kubedos keeps what belongs to the user: the default age identity. */
export function configDirectory(): string {
  return process.env["KUBEDOS_CONFIG"] ?? join(process.env["XDG_CONFIG_HOME"] ?? join(homedir(), ".config"), "kubedos");
}

/** The files that belong to one spec. For `lab.yaml`: `lab.lock`, `lab.vault`, `lab.keyring`, `out/lab/`, `.kubedos/lab/`. */
export interface SpecPaths {
  spec: string;
  lock: string;
  vault: string;
  /** Keys that cannot be derived, encrypted for the vault. */
  keyring: string;
  /** Artifacts. */
  out: string;
  /** State of the machines and of runs. */
  state: string;
  /** Sockets and pid files; short, because a unix socket's path holds 107 bytes at most. */
  runtime: string;
}

export function specPaths(specFile: string): SpecPaths {
  const spec = resolve(specFile);
  const directory = dirname(spec);
  const base = basename(spec, extname(spec));
  const short = createHash("sha256").update(spec).digest("hex").slice(0, 10);
  return {
    spec,
    lock: join(directory, `${base}.lock`),
    vault: join(directory, `${base}.vault`),
    keyring: join(directory, `${base}.keyring`),
    out: join(directory, "out", base),
    state: join(directory, ".kubedos", base),
    runtime: join(runtimeDirectory(), short),
  };
}

function runtimeDirectory(): string {
  const uid = process.getuid?.() ?? 0;
  return (
    process.env["KUBEDOS_RUNTIME"] ??
    (uid === 0 ? "/run/kubedos" : join(process.env["XDG_RUNTIME_DIR"] ?? `/tmp/kubedos-${uid}`, "kubedos"))
  );
}

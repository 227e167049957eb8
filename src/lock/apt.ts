import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import type { RunContext } from "../host/context.ts";
import { run } from "../host/run.ts";
import { checkNames, resolutionError, updateError } from "./apt-errors.ts";
import { noMirrorError, type HostApt } from "./host-apt.ts";
import type { Mirrors } from "./mirrors.ts";
import { poolSource } from "../audit/audit.ts";
import {
  configure,
  makeDirectories,
  needKeyring,
  privateEnvironment,
  type AptSource,
  type PrivateApt,
} from "./private-apt.ts";
import type { LockedPackage, LockedSuite } from "./types.ts";

const updateTimeoutMs = 15 * 60_000;
const resolveTimeoutMs = 60_000;

/**
 * Makes the private apt in `directory` and brings its indexes up to date, incrementally when it was there before.
 * Every Release file's signature is checked by apt against `keyring`. Mirrors of an archive are tried in order.
 *
 * @throws KubedosError when no mirror of an archive gave a correctly signed index
 */
export async function updateApt(
  request: { directory: string; sources: readonly AptSource[]; mirrors: Mirrors; keyring: string; host: HostApt },
  context: Pick<RunContext, "emit" | "signal">,
): Promise<PrivateApt> {
  const { directory, sources, mirrors, host } = request;
  await needKeyring(request.keyring);
  await makeDirectories(directory);
  const position: Record<string, number> = {};
  const failures: { base: string; output: string }[] = [];
  for (;;) {
    const bases: Record<string, string> = {};
    for (const { archive } of sources) {
      const base = mirrors[archive]?.[position[archive] ?? 0];
      if (base === undefined) throw failures.length > 0 ? updateError(failures) : noMirrorError(archive);
      bases[archive] = base;
    }
    await configure({ directory, bases, sources }, request.keyring, host);
    const result = await run("apt-get", ["update", "--error-on=any", "-q"], {
      env: privateEnvironment(directory),
      okStatuses: [0, 100],
      timeoutMs: updateTimeoutMs,
      signal: context.signal,
    });
    if (result.status === 0) return { directory, bases, sources };
    const output = `${result.stderr}\n${result.stdout}`;
    const broken = failedArchives(bases, output);
    for (const archive of broken) {
      failures.push({ base: bases[archive]!, output: result.stderr });
      position[archive] = (position[archive] ?? 0) + 1;
      const next = mirrors[archive]?.[position[archive]];
      if (next !== undefined) {
        context.emit({ type: "log", level: "warn", message: `${bases[archive]} failed; trying ${next}` });
      }
    }
  }
}

/**
 * The closure of the named packages with everything essential, as apt installs it on an empty system without
 * recommended packages. Sorted by name.
 *
 * @throws KubedosError code "spec" that names unknown packages, or with apt's reason why there is no solution
 */
export async function resolveClosure(
  apt: PrivateApt,
  names: readonly string[],
  signal: AbortSignal,
): Promise<LockedPackage[]> {
  checkNames(names);
  const env = privateEnvironment(apt.directory);
  const install = ["install", "-y", "--no-install-recommends", "-o", "Acquire::ForceHash=SHA256"];
  const result = await run("apt-get", [...install, "--print-uris", "-qq", "?essential", ...names], {
    env,
    okStatuses: [0, 100],
    timeoutMs: resolveTimeoutMs,
    signal,
  });
  if (result.status !== 0) throw await resolutionError(result, apt, names, env, signal);
  const files = parsePrintUris(result.stdout, apt.bases);
  const inClosure = new Set(files.map((file) => file.name));
  const absent = names.filter((name) => !inClosure.has(name));
  if (absent.length > 0) {
    throw new KubedosError("spec", `not real packages, but names that others provide: ${absent.join(", ")}`, {
      hint: "write the package that shall provide it, so that the lock does not depend on what else is installed",
    });
  }
  const suites = await suitesOf(apt, [...inClosure], signal);
  const sources = await sourcesOf(apt, files, signal);
  return files
    .map((file) => ({ ...file, suite: suiteFor(file, suites), ...sources.get(file.name) }))
    .toSorted((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}

/** A suite's index of packages, as the archive signed it. */
export interface PackagesIndex {
  archive: string;
  suite: string;
  text: string;
}

/** The indexes that were verified in the last `updateApt`. */
export async function readPackagesIndexes(apt: PrivateApt): Promise<PackagesIndex[]> {
  const files = apt.sources.flatMap(({ archive, suite, components }) =>
    components.map((component) => {
      const prefix = `${listPrefix(apt.bases[archive]!)}${listSuffix(suite)}`;
      return { archive, suite, name: `${prefix}_${component}_binary-amd64_Packages` };
    }),
  );
  return Promise.all(
    files.map(async ({ archive, suite, name }) => {
      const text = await readFile(join(apt.directory, "lists", name), "utf8").catch((cause: unknown) => {
        throw new KubedosError("failed", `apt kept no index of ${suite}: ${name}`, { cause });
      });
      return { archive, suite, text };
    }),
  );
}

/** The Release files that were verified in the last `updateApt`. */
export async function readSuites(apt: PrivateApt): Promise<LockedSuite[]> {
  const lists = join(apt.directory, "lists");
  const names = await readdir(lists);
  return Promise.all(
    apt.sources.map(async ({ archive, suite, components }) => {
      const wanted = `${listPrefix(apt.bases[archive]!)}${listSuffix(suite)}_InRelease`;
      const name = names.find((file) => file === wanted);
      if (name === undefined) {
        throw new KubedosError("failed", `apt kept no InRelease file of ${apt.bases[archive]} ${suite}`, {
          hint: "the mirror must serve InRelease (Release with a separate Release.gpg is not enough)",
        });
      }
      const bytes = await readFile(join(lists, name));
      const date = Date.parse(/^Date: (.+)$/m.exec(bytes.toString("utf8"))?.[1] ?? "");
      if (Number.isNaN(date)) throw new KubedosError("failed", `${name}: no readable Date field`);
      return {
        archive,
        suite,
        components: [...components],
        releaseSha256: createHash("sha256").update(bytes).digest("hex"),
        date: Math.floor(date / 1000),
      };
    }),
  );
}

/** One line of `--print-uris`: `'URL' file-name size SHA256:hash`. */
export function parsePrintUris(text: string, bases: Record<string, string>): Omit<LockedPackage, "suite">[] {
  return text
    .split("\n")
    .filter((line) => line.startsWith("'"))
    .map((line) => {
      const match = /^'([^']+)' ([^_\s]+)_([^_\s]+)_([^_\s]+)\.u?deb (\d+) SHA256:([0-9a-f]{64})$/.exec(line.trim());
      if (match === null) {
        throw new KubedosError("failed", `apt printed a package without name, size and SHA256: ${line}`, {
          hint: "the archive's index must carry SHA256 sums",
        });
      }
      const [, url, name, version, architecture, size, sha256] = match as unknown as string[];
      // The longest base wins: one archive's URL may be the beginning of another's.
      const [archive, base] = Object.entries(bases)
        .filter(([, candidate]) => url!.startsWith(`${candidate}/`))
        .toSorted((a, b) => b[1].length - a[1].length)[0] ?? [undefined, ""];
      if (archive === undefined) throw new KubedosError("failed", `apt took a package from an unknown place: ${url}`);
      return {
        name: decodeURIComponent(name!),
        version: decodeURIComponent(version!),
        architecture: architecture!,
        sizeBytes: Number(size),
        sha256: sha256!,
        archive,
        path: decodeURIComponent(url!.slice(base.length + 1)),
      };
    });
}

/** Source packages that name and version of the binary package do not tell, from its `Source` field. */
async function sourcesOf(
  apt: PrivateApt,
  files: readonly Omit<LockedPackage, "suite">[],
  signal: AbortSignal,
): Promise<Map<string, Pick<LockedPackage, "source">>> {
  const { stdout } = await run("apt-cache", ["show", ...files.map(({ name, version }) => `${name}=${version}`)], {
    env: privateEnvironment(apt.directory),
    timeoutMs: resolveTimeoutMs,
    signal,
  });
  const fields = new Map<string, string>();
  for (const paragraph of stdout.split(/\n\n+/)) {
    const [name, version, source] = ["Package", "Version", "Source"].map(
      (field) => new RegExp(`^${field}: (.+)$`, "m").exec(paragraph)?.[1],
    );
    fields.set(`${name} ${version}`, source ?? name ?? "");
  }
  const found = new Map<string, Pick<LockedPackage, "source">>();
  for (const { name, version, path } of files) {
    const [, source = name, own] = /^(\S+)(?: \((\S+)\))?$/.exec(fields.get(`${name} ${version}`) ?? "") ?? [];
    const plain = version.replace(/\+b\d+$/, "");
    if (source === (poolSource(path) ?? name) && (own ?? plain) === plain) continue;
    found.set(name, { source: { name: source, version: own ?? version } });
  }
  return found;
}

/** Which suites carry which version: lines `name | version | base suite/component arch Packages`, or `base /  Packages`. */
async function suitesOf(apt: PrivateApt, names: string[], signal: AbortSignal): Promise<Map<string, string[]>> {
  const { stdout } = await run("apt-cache", ["madison", ...names], {
    env: privateEnvironment(apt.directory),
    timeoutMs: resolveTimeoutMs,
    signal,
  });
  const found = new Map<string, string[]>();
  for (const line of stdout.split("\n")) {
    const [name, version, place] = line.split("|").map((part) => part.trim());
    const [base, ...rest] = (place ?? "").split(/\s+/);
    if (base === undefined || rest.at(-1) !== "Packages") continue;
    const archive = Object.keys(apt.bases).find((key) => apt.bases[key] === base.replace(/\/+$/, ""));
    const location = rest[0]!.includes("/") ? rest[0]!.replace(/\/.*$/, "") : "";
    // A flat repository has no name of a suite: it is the one that the sources list.
    const flat = apt.sources.find((source) => source.archive === archive && source.suite.endsWith("/"))?.suite;
    const suite = location === "" || location === "." ? flat : location;
    if (suite === undefined) continue;
    const key = `${name} ${version} ${archive}`;
    found.set(key, [...(found.get(key) ?? []), suite]);
  }
  return found;
}

function suiteFor(file: Omit<LockedPackage, "suite">, suites: Map<string, string[]>): string {
  const candidates = suites.get(`${file.name} ${file.version} ${file.archive}`) ?? [];
  const suite = [...candidates].toSorted((a, b) => a.length - b.length || (a < b ? -1 : 1))[0];
  if (suite === undefined) throw new KubedosError("failed", `apt names no suite for ${file.name} ${file.version}`);
  return suite;
}

/** Archives that apt complained about; all of them when it named none. */
function failedArchives(bases: Record<string, string>, output: string): string[] {
  const complaints = output
    .split("\n")
    .filter((line) => /^(E:|W:|Err:)/.test(line))
    .join("\n");
  const named = Object.keys(bases).filter((archive) => {
    const base = bases[archive]!.replace(/^file:(\/\/)?/, "file:");
    return [`${bases[archive]}/`, `${bases[archive]} `, `${base}/`, `${base} `].some((text) =>
      complaints.includes(text),
    );
  });
  return named.length > 0 ? named : Object.keys(bases);
}

/** apt's file name for a URL: without scheme and credentials, slashes as underscores. */
function listPrefix(base: string): string {
  return base
    .replace(/^[a-z+]+:/, "")
    .replace(/^\/\/(?:[^/@]*@)?/, "")
    .replaceAll(/[\\|{}[\]<>"^~_=!@#$%*]/g, (char) => `%${char.charCodeAt(0).toString(16).padStart(2, "0")}`)
    .replaceAll("/", "_");
}

/** The part of apt's file name that names the suite; a flat repository's is its path. */
function listSuffix(suite: string): string {
  if (!suite.endsWith("/")) return `_dists_${suite.replaceAll("/", "_")}`;
  return suite === "/" ? "" : `_${suite.slice(0, -1).replaceAll("/", "_")}`;
}

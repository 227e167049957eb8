import { KubedosError } from "../../shared/error.ts";
import { run, type RunResult } from "../host/run.ts";

/**
 * Only plain package names go to apt: `name-` would remove, `name=version`, `name/suite`, patterns and options mean
 * something else. See Debian policy 5.6.1 for the syntax of names.
 */
export function checkNames(names: readonly string[]): void {
  const wrong = names.filter((name) => !/^[a-z0-9][a-z0-9+.-]*[a-z0-9+.]$/.test(name));
  if (wrong.length === 0) return;
  throw new KubedosError("spec", `not package names: ${wrong.map((name) => JSON.stringify(name)).join(", ")}`, {
    hint: "write plain Debian package names (lower-case letters, digits, + - .); versions come from the lock",
  });
}

/** Why no mirror gave a usable index. */
export function updateError(failures: readonly { base: string; output: string }[]): KubedosError {
  const bases = [...new Set(failures.map((failure) => failure.base))];
  const lines = [...new Set(failures.flatMap((failure) => complaints(failure.output)))];
  const output = lines.join("\n");
  return new KubedosError(
    "failed",
    `no usable package index from ${bases.join(", ")}\n${output.replaceAll(/^/gm, "  | ")}`,
    { hint: updateHint(output) },
  );
}

function updateHint(output: string): string {
  if (/NO_PUBKEY|EXPKEYSIG|KEYEXPIRED|not available|Missing key/i.test(output)) {
    return "the keys of this suite are unknown or expired here: apt-get install --only-upgrade debian-archive-keyring (from Debian where the host is another system)";
  }
  if (/signature|BADSIG|not signed|clearsigned|NOSPLIT|NODATA|Bad signature/i.test(output)) {
    return "the mirror's Release file is not what Debian signed: do not use this mirror; write another in platform.mirror";
  }
  if (/not valid yet|expired|Valid-Until/i.test(output)) {
    return (
      "the mirror's index is out of date, or this host's clock is wrong (check `date`); for a snapshot archive set\n" +
      'Acquire::Check-Valid-Until "false"; in apt\'s configuration'
    );
  }
  if (/Hash Sum mismatch|unexpected size|mirror sync/i.test(output)) {
    return "the mirror is being updated or damaged: try again later, or write another in platform.mirror";
  }
  if (/404|does not have a Release file|File not found/i.test(output)) {
    return "the mirror has no such suite; write its base URL as in http://deb.debian.org/debian (several are tried in order)";
  }
  return "check the network, the proxy in apt's configuration, and platform.mirror in the spec (several are tried in order)";
}

/** apt's complaints without those that follow from others, credentials in URLs masked. */
function complaints(output: string): string[] {
  return output
    .split("\n")
    .filter((line) => /^[EW]:/.test(line))
    .filter((line) => !/Some index files failed to download|Updating from such a repository/.test(line))
    .map((line) => line.replaceAll(/\/\/[^/\s@]*@/g, "//***@"));
}

/** Why apt found no closure. Unknown names come with the nearest that exist. */
export async function resolutionError(
  result: RunResult,
  apt: { bases: Record<string, string>; sources: readonly { suite: string }[] },
  names: readonly string[],
  env: Record<string, string>,
  signal: AbortSignal,
): Promise<KubedosError> {
  const text = `${result.stderr}\n${result.stdout}`;
  const unknown = new Set(
    [...text.matchAll(/Unable to locate package (\S+)|Package '?([^'\s]+)'? has no installation candidate/g)].map(
      (match) => (match[1] ?? match[2])!,
    ),
  );
  const ours = names.filter((name) => unknown.has(name));
  if (ours.length > 0) {
    const { stdout } = await run("apt-cache", ["pkgnames"], { env, signal, timeoutMs: 30_000 });
    const known = stdout.split("\n").filter((name) => name !== "");
    const suites = apt.sources.map((source) => source.suite).join(", ");
    const problems = ours.map((name) => {
      const near = nearestNames(name, known);
      return {
        message: `no package ${name} in ${suites}`,
        hint: near.length > 0 ? `did you mean ${near.join(" or ")}?` : undefined,
      };
    });
    return new KubedosError("spec", problems.map((problem) => problem.message).join("\n"), {
      hint: problems.flatMap((problem) => problem.hint ?? []).join("\n") || "correct the name in platform.packages",
      problems,
    });
  }
  // The quiet run above does not print the reason.
  const again = await run("apt-get", ["install", "-s", "-q", "--no-install-recommends", "?essential", ...names], {
    env,
    signal,
    timeoutMs: 60_000,
    okStatuses: [0, 100],
  });
  const reason = /The following packages have unmet dependencies:\n([^]*)/.exec(again.stdout)?.[1] ?? text;
  return new KubedosError(
    "spec",
    `apt finds no way to install these packages together\n${reason.trim().replaceAll(/^\s*/gm, "  | ")}`,
    { hint: "two of the packages exclude each other, or one needs a version that the suites do not have" },
  );
}

/** At most three existing names within a small edit distance, best first. */
export function nearestNames(name: string, known: readonly string[]): string[] {
  const limit = Math.max(1, Math.floor(name.length / 4));
  return known
    .filter((candidate) => Math.abs(candidate.length - name.length) <= limit)
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate, limit) }))
    .filter(({ distance }) => distance <= limit)
    .toSorted((a, b) => a.distance - b.distance || (a.candidate < b.candidate ? -1 : 1))
    .slice(0, 3)
    .map(({ candidate }) => candidate);
}

/** Optimal string alignment distance; gives up with `limit + 1` as soon as it must be greater. */
function editDistance(a: string, b: string, limit: number): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, before[j - 2]! + 1);
      row.push(best);
    }
    if (Math.min(...row) > limit) return limit + 1;
    before = previous;
    previous = row;
  }
  return previous[b.length]!;
}

import { availableParallelism } from "node:os";
import { KubedosError } from "../../shared/error.ts";
import { run } from "../host/run.ts";
import type { LockedPackage } from "../lock/types.ts";
import type { Store } from "../store/store.ts";
import { forEachLimit } from "./parallel.ts";

/** What a package's control file says of its place among others. */
interface Relations {
  name: string;
  provides: string[];
  /** Each a choice of names; versions are apt's business, which has chosen them. */
  needs: string[][];
}

/**
 * Whether everything that the packages depend on is among them: names the hole in a lock with which dpkg could not
 * finish. Debian policy 7.1 and 7.2.
 *
 * @throws KubedosError code "spec" that names what is missing and by what it is needed
 */
export async function checkDependencies(
  packages: readonly LockedPackage[],
  store: Store,
  signal: AbortSignal,
): Promise<void> {
  const relations: Relations[] = [];
  await forEachLimit(packages, availableParallelism(), async ({ sha256 }) => {
    const fields = ["Package", "Provides", "Depends", "Pre-Depends"];
    const { stdout } = await run("dpkg-deb", ["--field", store.path(sha256), ...fields], { signal, timeoutMs: 60_000 });
    relations.push(readRelations(stdout));
  });
  const missing = missingDependencies(relations);
  if (missing.length === 0) return;
  const problems = missing.map(({ names, by }) => ({
    message: `${names.join(" or ")} is needed by ${by}, and is not in the lock`,
  }));
  throw new KubedosError("spec", problems.map(({ message }) => message).join("\n"), {
    hint: "a lock is not edited by hand: restore it from version control, or run `kubedos lock --update`",
    problems,
  });
}

/** Fields of a binary package's control file; folded lines belong to the field above them. */
export function readRelations(text: string): Relations {
  const unfolded = text.replaceAll(/\n[ \t]+/g, " ");
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(unfolded)?.[1] ?? "";
  const list = (value: string) => value.split(",").filter((item) => item.trim() !== "");
  const plain = (item: string) => /^\s*([a-z0-9][a-z0-9+.-]*)/.exec(item)?.[1] ?? item.trim();
  return {
    name: field("Package"),
    provides: list(field("Provides")).map(plain),
    needs: [...list(field("Depends")), ...list(field("Pre-Depends"))].map((item) => item.split("|").map(plain)),
  };
}

/** Choices of which nothing is there, sorted by who needs them. */
export function missingDependencies(relations: readonly Relations[]): { names: string[]; by: string }[] {
  const there = new Set(relations.flatMap(({ name, provides }) => [name, ...provides]));
  return relations
    .flatMap(({ name, needs }) =>
      needs.filter((names) => !names.some((one) => there.has(one))).map((names) => ({ names, by: name })),
    )
    .toSorted((a, b) => (a.by < b.by ? -1 : a.by > b.by ? 1 : 0));
}

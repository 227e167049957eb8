import { open, readFile, rename, rm } from "node:fs/promises";
import { KubedosError, type Problem } from "../../shared/error.ts";
import { uniqueBeside } from "../host/unique.ts";
import { lockSchema, sectionsSchema } from "./schema.ts";
import { lockFormat, type Lock } from "./types.ts";

/**
 * The text of a lock: JSON, two spaces, one package a line, so that a change of one package is one line of a diff.
 * The same lock gives the same text.
 */
export function formatLock(lock: Lock): string {
  const list = (values: readonly unknown[], indent = 2) => {
    const line = (value: unknown) => `${" ".repeat(indent + 2)}${JSON.stringify(value)}`;
    return values.length === 0 ? "[]" : `[\n${values.map(line).join(",\n")}\n${" ".repeat(indent)}]`;
  };
  // Parsed, so that fields are in the schema's order whoever made them.
  const { wheels, blobs, images, thirdParty, securityData } = sectionsSchema.parse(pickSections(lock));
  const { python, ...requested } = lock.requested;
  const names = optionalParts
    .filter((part) => requested[part] !== undefined)
    .map((part) => `,\n    "${part}": ${JSON.stringify(requested[part])}`);
  const packages: Record<string, Lock["platform"] | undefined> = {};
  for (const part of optionalParts) packages[part] = lock[part]?.map(inOrder);
  const sections = Object.entries({ ...packages, wheels, blobs, images, thirdParty }).flatMap(([name, values]) =>
    values === undefined ? [] : [[name, values] as const],
  );
  const ordered = lock.platform.map(inOrder);
  return `{
  "format": ${lock.format},
  "epoch": ${lock.epoch},
  "architecture": ${JSON.stringify(lock.architecture)},
  "suites": ${list(lock.suites.map(({ archive, suite, components, releaseSha256, date }) => ({ archive, suite, components, releaseSha256, date })))},
  "requested": {
    "platform": ${JSON.stringify(lock.requested.platform)},
    "foundry": ${JSON.stringify(lock.requested.foundry)}${names.join("")}${python === undefined ? "" : `,\n    "python": ${list(python, 4)}`}
  },
  "platform": ${list(ordered)},
  "foundry": ${list(lock.foundry.map(inOrder))}${sections.map(([name, values]) => `,\n  "${name}": ${list(values)}`).join("")}${
    securityData === undefined ? "" : `,\n  "securityData": ${JSON.stringify(securityData)}`
  }
}
`;
}

function pickSections({ wheels, blobs, images, thirdParty, securityData }: Lock): Partial<Lock> {
  return { wheels, blobs, images, thirdParty, securityData };
}

function inOrder(entry: Lock["platform"][number]): Lock["platform"][number] {
  const { name, version, architecture, sizeBytes, sha256: hash, archive, suite, path, source } = entry;
  const fields = { name, version, architecture, sizeBytes, sha256: hash, archive, suite, path };
  return source === undefined ? fields : { ...fields, source };
}

/** Writes a lock; the file is replaced in one step. */
export async function writeLock(file: string, lock: Lock): Promise<void> {
  const temporary = uniqueBeside(file);
  try {
    const handle = await open(temporary, "wx", 0o644);
    try {
      await handle.writeFile(formatLock(lock));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new KubedosError("failed", `cannot write ${file}: ${(cause as Error).message}`, { cause });
  }
}

/** Reads and checks a lock. Undefined when there is none. @throws KubedosError code "spec", see `parseLock` */
export async function readLock(file: string): Promise<Lock | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new KubedosError("failed", `cannot read ${file}: ${(cause as Error).message}`, { cause });
  }
  return parseLock(text, file);
}

/**
 * Checks the text of a lock: format, every field, order, duplicates. A hash that was edited by hand to another
 * well-formed hash is found by `acquire`, when the bytes do not have it.
 *
 * @throws KubedosError code "spec" with every problem and its line
 */
export function parseLock(text: string, file: string): Lock {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch (cause) {
    throw new KubedosError("spec", `${file} is not JSON: ${(cause as Error).message}`, {
      hint: restoreHint,
      at: { file, ...jsonErrorPlace(text, cause as Error) },
      cause,
    });
  }
  const format = (data as { format?: unknown } | null)?.format;
  if (typeof format === "number" && format > lockFormat) {
    throw new KubedosError("spec", `${file} has lock format ${format}; this kubedos reads up to ${lockFormat}`, {
      hint: "use a newer kubedos, or make the lock anew with `kubedos lock --update`",
      at: { file, line: lineOf(text, '"format"') },
    });
  }
  const parsed = lockSchema.safeParse(data);
  const problems: Problem[] = parsed.success
    ? [...orderProblems(parsed.data, text, file), ...sectionProblems(parsed.data, text, file)]
    : parsed.error.issues.map((issue) => ({
        message: `${formatPath(issue.path)}: ${issue.message}`,
        at: { file, line: lineOfPath(data, issue.path, text) },
      }));
  if (problems.length > 0 || !parsed.success) {
    throw new KubedosError("spec", `${file} is not a valid lock: ${problems[0]!.message}`, {
      hint: restoreHint,
      at: problems[0]!.at,
      problems,
    });
  }
  return parsed.data;
}

const restoreHint = "a lock is not edited by hand: restore it from version control, or run `kubedos lock --update`";

/** Sections of a lock that list Debian's packages; those that not every lock has. */
const optionalParts = ["machines", "shim", "netinst", "installer"] as const;
const packageParts = ["platform", "foundry", ...optionalParts] as const;

function orderProblems(lock: Lock, text: string, file: string): Problem[] {
  const problems: Problem[] = [];
  for (const part of packageParts) {
    const packages = lock[part] ?? [];
    const section = text.lastIndexOf(`"${part}": [`);
    const at = (name: string) => ({ file, line: lineOf(text, `"name":${JSON.stringify(name)}`, section) });
    const archives = new Set(lock.suites.map((suite) => suite.archive));
    packages.forEach((entry, index) => {
      const previous = packages[index - 1];
      if (!archives.has(entry.archive)) {
        problems.push({ message: `${part}: ${entry.name}: no suite of archive ${entry.archive}`, at: at(entry.name) });
      }
      if (previous === undefined || previous.name < entry.name) return;
      const what = previous.name === entry.name ? `${entry.name} is listed twice` : `${entry.name} is not in order`;
      problems.push({ message: `${part}: ${what}`, at: at(entry.name) });
    });
    const names = lock.requested[part] ?? [];
    const base = { platform: [], foundry: [], machines: lock.foundry, shim: [], netinst: lock.platform, installer: [] }[
      part
    ];
    const closure = [...packages, ...base];
    const listed = new Set(closure.map((entry) => entry.name));
    names.forEach((name, index) => {
      const place = { file, line: lineOf(text, `"${part}"`) };
      if (index > 0 && names[index - 1]! >= name)
        problems.push({ message: `requested.${part}: ${name} is not in order`, at: place });
      if (!listed.has(name)) problems.push({ message: `requested.${part}: ${name} is not in the closure`, at: place });
    });
  }
  return problems;
}

/** What was asked for is there, and sections are in order, so that the same inputs give the same text. */
function sectionProblems(lock: Lock, text: string, file: string): Problem[] {
  const problems: Problem[] = [];
  const add = (section: string, message: string) =>
    problems.push({ message: `${section}: ${message}`, at: { file, line: lineOf(text, `"${section}"`) } });
  const inOrder = (section: string, keys: readonly string[]) => {
    keys.forEach((key, index) => {
      if (index > 0 && keys[index - 1]! >= key) add(section, `${key.replaceAll("\0", " ").trim()} is not in order`);
    });
  };
  const wheels = lock.wheels ?? [];
  inOrder(
    "wheels",
    wheels.map(({ prefix, buildOf, name }) => `${prefix}\0${buildOf ?? ""}\0${name}`),
  );
  inOrder("blobs", lock.blobs?.map(({ name }) => name) ?? []);
  inOrder("images", lock.images?.map(({ reference }) => reference) ?? []);
  inOrder("thirdParty", lock.thirdParty?.map(({ name }) => name) ?? []);
  for (const { prefix, requirements, without = [] } of lock.requested.python ?? []) {
    const names = new Set(wheels.filter((one) => one.prefix === prefix && !one.buildOf).map(({ name }) => name));
    for (const requirement of requirements) {
      const name =
        /^[\w.-]+/
          .exec(requirement)?.[0]
          .toLowerCase()
          .replaceAll(/[-_.]+/g, "-") ?? requirement;
      if (!names.has(name) && !without.includes(name) && !requirement.includes(";"))
        add("wheels", `${name} is asked for in ${prefix} and not listed`);
    }
  }
  const archives = new Set(lock.suites.map(({ archive }) => archive));
  for (const { name } of lock.thirdParty ?? []) if (!archives.has(name)) add("thirdParty", `no suite of ${name}`);
  return problems;
}

function formatPath(path: readonly PropertyKey[]): string {
  return (
    path
      .map((part) => (typeof part === "number" ? `[${part}]` : String(part)))
      .join(".")
      .replaceAll(".[", "[") || "lock"
  );
}

/** Line of the package that a path leads to, else of its first key. */
function lineOfPath(data: unknown, path: readonly PropertyKey[], text: string): number | undefined {
  const [part, index] = path;
  const key = `"${String(part)}"`;
  if (typeof index !== "number" || !packageParts.some((one) => one === part)) return lineOf(text, key);
  const entry = (data as Record<string, unknown[]>)[String(part)]?.[index] as { name?: unknown } | undefined;
  const section = text.lastIndexOf(`${key}: [`);
  return lineOf(text, `"name":${JSON.stringify(entry?.name)}`, section) ?? lineOf(text, key);
}

function lineOf(text: string, needle: string, from = 0): number | undefined {
  const at = text.indexOf(needle, Math.max(0, from));
  return at < 0 ? undefined : text.slice(0, at).split("\n").length;
}

function jsonErrorPlace(text: string, error: Error): { line?: number; col?: number } {
  const position = /position (\d+)/.exec(error.message)?.[1];
  if (position === undefined) return {};
  const before = text.slice(0, Number(position)).split("\n");
  return { line: before.length, col: before.at(-1)!.length + 1 };
}

import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { formatPlace, KubedosError, type Problem } from "../../shared/error.ts";
import { armorKey, keyFingerprints } from "../lock/openpgp-key.ts";
import { constraints } from "./constraints/registry.ts";
import { readDocument, type SpecDocument } from "./document.ts";
import type { Finding } from "./finding.ts";
import { describeIssues } from "./issues.ts";
import { normalise } from "./normalise.ts";
import { isTainted, repair } from "./repair.ts";
import { specSchema, type WrittenSpec } from "./schema.ts";
import { isKeyText, withTpmKeys } from "./tpm-keys.ts";
import type { Spec } from "./types.ts";

/** A spec, or all that is wrong with its text, sorted by place. Never both. */
export interface ParsedSpec {
  spec?: Spec;
  problems: Problem[];
}

/** Checks the text of a spec: syntax, shape, constraints. `file` is only named in places. Pure; never throws. */
export function parseSpec(text: string, file: string): ParsedSpec {
  // 1. YAML → plain data
  const document = readDocument(text, file);
  if (document.value === undefined || document.value === null) return { problems: document.problems };

  // 2. Shape; what is misshapen is taken out, so that the rest is checked in the same run
  const shape = specSchema.safeParse(document.value);
  const issues = shape.success ? [] : shape.error.issues;
  const rest = shape.success ? { written: shape.data, tainted: [] } : repair(document.value, issues);
  const findings = describeIssues(issues, document.value);

  // 3. Constraints that do not depend on what was taken out
  const normal = rest === undefined ? undefined : normalise(rest.written);
  if (rest !== undefined && normal !== undefined)
    findings.push(...constraintFindings(rest.written, rest.tainted, normal));

  const problems = [...document.problems, ...findings.map((finding) => toProblem(finding, document))];
  if (problems.length > 0) return { problems: problems.toSorted(byPlace) };
  return { spec: normal!.spec, problems: [] };
}

function constraintFindings(
  written: WrittenSpec,
  tainted: readonly string[],
  normal: ReturnType<typeof normalise>,
): Finding[] {
  const view = { ...normal, written };
  return constraints
    .filter((constraint) => !isTainted(tainted, constraint.reads))
    .flatMap((constraint) => constraint.check(view));
}

/** No spec is larger; above it, the wrong file was given. */
const maxSpecBytes = 32 * 1024 * 1024;

/**
 * Reads and checks a spec.
 *
 * @throws KubedosError (code `spec`) with all problems, or saying why the file could not be read
 */
export async function loadSpec(file: string): Promise<Spec> {
  const text = await readSpecText(file);
  const parsed = parseSpec(text, file);
  let { problems } = parsed;
  if (parsed.spec !== undefined) {
    const keyed = await withTpmKeys(parsed.spec, (name, what) => readKeyFile(file, name, what));
    if (keyed.findings.length === 0) return withKeys(keyed.spec, file);
    const document = readDocument(text, file);
    problems = keyed.findings.map((finding) => toProblem(finding, document));
  }
  const [first] = problems;
  throw new KubedosError(
    "spec",
    problems.length === 1 ? `${file}: one problem` : `${file}: ${problems.length} problems`,
    {
      hint: first?.at === undefined ? undefined : `start with ${formatPlace(first.at)}`,
      problems,
    },
  );
}

/** Names of files, as the spec has them, that hold keys of its apt sources or of TPMs. Empty for a spec that is not valid. */
export async function keyFiles(file: string): Promise<string[]> {
  const { spec } = parseSpec(await readSpecText(file), file);
  const sources = (spec?.platform.sources ?? []).map(({ key }) => key);
  const tpms = (spec?.nodes ?? []).flatMap(({ hardware }) => hardware?.tpm ?? []);
  const names = [...sources, ...tpms].filter((key) => !isKeyText(key));
  return [...new Set(names)].toSorted();
}

/** The spec with the keys of its apt sources in it: a name of a file gives way to the file's text. */
async function withKeys(spec: Spec, file: string): Promise<Spec> {
  if (spec.platform.sources.length === 0) return spec;
  const sources = await Promise.all(
    spec.platform.sources.map(async (source) => {
      const what = `key of the source ${source.name}`;
      let key = source.key;
      if (!isKeyText(key)) {
        const bytes = await readKeyFile(file, key, what);
        key = bytes.subarray(0, 10).toString("latin1").startsWith("-----BEGIN")
          ? bytes.toString("utf8")
          : armorKey(bytes);
      }
      keyFingerprints(key, what);
      return { ...source, key };
    }),
  );
  return { ...spec, platform: { ...spec.platform, sources } };
}

/** @param name relative to the spec `file` */
function readKeyFile(file: string, name: string, what: string): Promise<Buffer> {
  const path = resolve(dirname(file), name);
  return readFile(path).catch((cause: Error) => {
    const hint = "write the key's file relative to the spec, or its text";
    throw new KubedosError("spec", `${what}: cannot read ${path}`, { hint, at: { file }, cause });
  });
}

async function readSpecText(file: string): Promise<string> {
  const bytes = await readFile(file).catch((cause: NodeJS.ErrnoException) => {
    throw unreadable(file, cause);
  });
  if (bytes.length > maxSpecBytes) {
    throw notASpec(file, `has ${Math.round(bytes.length / 1024 / 1024)} MiB, more than any spec`);
  }
  if (bytes.includes(0)) throw notASpec(file, "is not text: it holds NUL bytes");
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new KubedosError("spec", `${file} is not UTF-8`, { hint: "save it as UTF-8", at: { file }, cause });
  }
}

function notASpec(file: string, why: string): KubedosError {
  return new KubedosError("spec", `${file} ${why}`, { hint: "give the path of a cluster.yaml", at: { file } });
}

function unreadable(file: string, cause: NodeJS.ErrnoException): KubedosError {
  const [message, hint] =
    cause.code === "ENOENT"
      ? [`no spec at ${file}`, "give its path, or let `kubedos init NAME` write a starter"]
      : cause.code === "EISDIR"
        ? [`${file} is a directory`, "give the path of the YAML file in it"]
        : cause.code === "EACCES"
          ? [`${file} may not be read`, "check its owner and permissions"]
          : [`${file}: ${cause.message}`, "give the path of a cluster.yaml"];
  return new KubedosError("spec", message, { hint, at: { file }, cause });
}

function toProblem(finding: Finding, document: SpecDocument): Problem {
  return { message: finding.message, hint: finding.hint, at: document.place(finding.path, finding.key) };
}

function byPlace(a: Problem, b: Problem): number {
  return (a.at?.line ?? 0) - (b.at?.line ?? 0) || (a.at?.col ?? 0) - (b.at?.col ?? 0);
}

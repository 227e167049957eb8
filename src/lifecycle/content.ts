import { lstat, readdir, readFile } from "node:fs/promises";
import { dirname, isAbsolute, join, normalize, relative } from "node:path";
import { KubedosError, type Problem } from "../../shared/error.ts";
import { checkPlaybooks } from "../converge/playbooks.ts";
import { checkStates } from "../converge/states.ts";
import type { RunContext } from "../host/context.ts";
import { keyFiles } from "../spec/load.ts";
import type { FeatureName, Spec } from "../spec/types.ts";

/** A file of the user's that goes into the cluster layer. */
export interface ContentFile {
  /** Relative to the layer, e.g. `ansible/site.yml`. */
  path: string;
  /** 0o755 for what is executable, else 0o644. */
  mode: number;
  content: Uint8Array;
  /** Where it was read. */
  source: string;
}

/** Folders beside a spec that belong to it. */
export const contentFolders = ["ansible", "salt"] as const;

/** The layer is in the boot image and in every node's memory. */
const mostBytes = 2 * 1024 * 1024;
const mostFiles = 2_000;

/**
 * The files of a folder beside the spec (`ansible`), in code-unit order. Empty where there is no such folder. Hidden files
 * are left out; owner, times and all of the mode but "executable" do not count.
 *
 * @throws KubedosError (code `spec`) for a link, a device, or more than the layer may hold
 */
export async function readContent(specFile: string, folder: string): Promise<ContentFile[]> {
  const top = join(dirname(specFile), folder);
  const root = await lstat(top).catch(() => undefined);
  if (root === undefined) return [];
  const files: ContentFile[] = [];
  let bytes = 0;
  async function walk(directory: string): Promise<void> {
    for (const name of (await readdir(directory)).toSorted()) {
      if (name.startsWith(".")) continue;
      const source = join(directory, name);
      const status = await lstat(source);
      if (status.isDirectory()) await walk(source);
      else if (!status.isFile()) {
        throw new KubedosError("spec", `${source} is neither a file nor a folder`, {
          hint: `put the file itself into ${folder}/: links and devices do not go into the cluster layer`,
          at: { file: source },
        });
      } else {
        bytes += status.size;
        if (bytes > mostBytes || files.length >= mostFiles) throw tooMuch(top, folder);
        const path = `${folder}/${relative(top, source)}`;
        const mode = (status.mode & 0o111) === 0 ? 0o644 : 0o755;
        files.push({ path, mode, content: await readFile(source), source });
      }
    }
  }
  if (!root.isDirectory()) throw new KubedosError("spec", `${top} is not a folder`, { at: { file: top } });
  await walk(top);
  return files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

/**
 * Every file beside a spec that belongs to it: the content folders, and the keys of its apt sources and TPMs. With them, the spec
 * means the same in another directory.
 *
 * @throws KubedosError (code `spec`) as `readContent`, and for a key that lies elsewhere
 */
export async function readBeside(specFile: string): Promise<Pick<ContentFile, "path" | "mode" | "content">[]> {
  const folders = await Promise.all(contentFolders.map((folder) => readContent(specFile, folder)));
  const keys = (await keyFiles(specFile)).map(async (name) => {
    const path = normalize(name);
    if (isAbsolute(path) || path.startsWith("..")) {
      throw new KubedosError("spec", `the key ${name} lies outside of the spec's directory`, {
        hint: "put the key beside the spec, so that both can be copied together",
        at: { file: specFile },
      });
    }
    return { path, mode: 0o644, content: await readFile(join(dirname(specFile), path)) };
  });
  return [...folders.flat(), ...(await Promise.all(keys))];
}

/**
 * The user's playbooks, `ansible/` beside the spec, checked as far as their text shows.
 *
 * @throws KubedosError (code `spec`) with all problems
 */
export function readPlaybooks(specFile: string, spec: Spec, context: Pick<RunContext, "emit">): Promise<ContentFile[]> {
  return readChecked(specFile, spec, { folder: "ansible", feature: "ansible", check: checkPlaybooks }, context);
}

/**
 * The user's Salt states and pillar, `salt/` beside the spec, checked as far as their text shows.
 *
 * @throws KubedosError (code `spec`) with all problems
 */
export function readStates(specFile: string, spec: Spec, context: Pick<RunContext, "emit">): Promise<ContentFile[]> {
  return readChecked(specFile, spec, { folder: "salt", feature: "salt", check: checkStates }, context);
}

/** What a folder beside the spec is for; `check` sees paths relative to it. */
interface ContentKind {
  folder: string;
  feature: FeatureName;
  check(files: readonly ContentFile[]): Problem[];
}

async function readChecked(
  specFile: string,
  spec: Spec,
  { folder, feature, check }: ContentKind,
  context: Pick<RunContext, "emit">,
): Promise<ContentFile[]> {
  const files = await readContent(specFile, folder);
  if (files.length === 0) return [];
  if (!spec.platform.features.includes(feature)) {
    const message = `${join(dirname(specFile), folder)} is not used: the platform has no feature ${feature}`;
    context.emit({ type: "log", level: "warn", message, hint: `add \`${feature}\` to platform.features` });
    return [];
  }
  const problems = check(files.map((file) => ({ ...file, path: file.path.slice(folder.length + 1) })));
  if (problems.length === 0) return files;
  const count = problems.length === 1 ? "one problem" : `${problems.length} problems`;
  throw new KubedosError("spec", `${folder}/: ${count}`, { problems });
}

function tooMuch(top: string, folder: string): KubedosError {
  return new KubedosError("spec", `${top} holds more than ${mostBytes / 1024 / 1024} MiB or ${mostFiles} files`, {
    hint: `every node keeps the cluster layer in memory: leave large files out of ${folder}/ and put them into the image with \`platform.files\`, or on the hub in /srv/${folder}`,
    at: { file: top },
  });
}

import { isMap, isScalar, isSeq, LineCounter, parseAllDocuments, type Node, type YAMLMap } from "yaml";
import type { Problem } from "../../shared/error.ts";
import { nearest } from "../spec/suggest.ts";

/** A file of the spec's `ansible/`; `path` is relative to it, `source` is named in places. */
export interface PlaybookFile {
  path: string;
  source: string;
  content: Uint8Array;
}

/** Keywords of a play: docs.ansible.com, "Playbook Keywords". */
const playKeywords = [
  ...["any_errors_fatal", "become", "become_exe", "become_flags", "become_method", "become_user", "check_mode"],
  ...["collections", "connection", "debugger", "diff", "environment", "fact_path", "force_handlers", "gather_facts"],
  ...["gather_subset", "gather_timeout", "handlers", "hosts", "ignore_errors", "ignore_unreachable"],
  ...["max_fail_percentage", "module_defaults", "name", "no_log", "order", "port", "post_tasks", "pre_tasks"],
  ...["remote_user", "roles", "run_once", "serial", "strategy", "tags", "tasks", "throttle", "timeout", "user"],
  ...["validate_argspec", "vars", "vars_files", "vars_prompt"],
];
const importKeywords = ["import_playbook", "ansible.builtin.import_playbook"];

/**
 * What is wrong with the user's playbooks as far as their text shows: YAML syntax of every .yml file, and the shape of
 * site.yml. Modules and tasks are Ansible's own to check, which the build does before anything boots. Pure.
 */
export function checkPlaybooks(files: readonly PlaybookFile[]): Problem[] {
  if (files.length === 0) return [];
  const problems = files.filter(isYaml).flatMap(syntaxProblems);
  const site = files.find(({ path }) => path === "site.yml");
  if (site !== undefined) return [...problems, ...(problems.length > 0 ? [] : siteProblems(site, files))];
  const first = files[0]!;
  return [
    ...problems,
    {
      message: "ansible/ has no site.yml, so none of it would run",
      hint: "write site.yml with the plays, or with `import_playbook` for each playbook",
      at: { file: first.source.slice(0, first.source.length - first.path.length) },
    },
  ];
}

/** Templates and files are handed to nodes as they are. */
function isYaml({ path }: PlaybookFile): boolean {
  return /\.ya?ml$/.test(path) && !/(^|\/)(templates|files)\//.test(path);
}

function read(file: PlaybookFile) {
  const lines = new LineCounter();
  const text = new TextDecoder().decode(file.content);
  // Tags such as !vault and !unsafe are Ansible's; they are kept as they are.
  const documents = parseAllDocuments(text, { lineCounter: lines, logLevel: "silent", uniqueKeys: true });
  return { documents: Array.isArray(documents) ? documents : [], lines };
}

function syntaxProblems(file: PlaybookFile): Problem[] {
  const { documents } = read(file);
  return documents.flatMap(({ errors }) =>
    errors.map(({ message, linePos }) => ({
      message: message.split(" at line ")[0]!.split("\n")[0]!,
      hint: "correct the YAML; `kubedos check` shows whether it can be read",
      at: { file: file.source, line: linePos?.[0].line, col: linePos?.[0].col },
    })),
  );
}

function siteProblems(site: PlaybookFile, files: readonly PlaybookFile[]): Problem[] {
  const { documents, lines } = read(site);
  const root = documents[0]?.contents;
  function problem(node: Node | null | undefined, message: string, hint: string): Problem {
    const place = node?.range === undefined || node.range === null ? undefined : lines.linePos(node.range[0]);
    return {
      message,
      hint,
      at: { file: site.source, line: place?.line, col: place?.col },
    };
  }
  if (!isSeq(root)) return [problem(root, "a playbook is a list of plays", "begin each play with `- hosts: all`")];
  return root.items.flatMap((item): Problem[] => {
    if (!isMap(item)) return [problem(item, "a play is a map", "write `- hosts: all` with `tasks:` or `roles:` below")];
    return playProblems(item, files, problem);
  });
}

function playProblems(
  play: YAMLMap,
  files: readonly PlaybookFile[],
  problem: (node: Node, message: string, hint: string) => Problem,
): Problem[] {
  const imported = importKeywords.map((key) => play.get(key, true)).find((value) => value !== undefined);
  if (imported !== undefined) {
    const path = isScalar(imported) ? String(imported.value) : "";
    if (path.includes("{{") || files.some((file) => file.path === path)) return [];
    const near = nearest(
      path,
      files.map((file) => file.path),
    );
    const hint = near === undefined ? "put it into ansible/" : `did you mean ${near}?`;
    return [problem(imported as Node, `imports ${path}, which is not there`, hint)];
  }
  const found: Problem[] = [];
  if (!play.has("hosts"))
    found.push(problem(play, "a play without `hosts`", "write `hosts: all`, or a group of docs/convergence.md"));
  for (const pair of play.items) {
    const key = pair.key;
    if (!isScalar(key)) continue;
    const name = String(key.value);
    if (playKeywords.includes(name) || name.startsWith("with_")) continue;
    const near = nearest(name, playKeywords);
    found.push(
      problem(
        key,
        `a play has no \`${name}\``,
        near === undefined ? "tasks go below `tasks:`" : `did you mean \`${near}\`?`,
      ),
    );
  }
  return found;
}

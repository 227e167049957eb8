import { formatBytes, printable, type Paint } from "../format.ts";
import type { Difference, FileFacts, OutputDiff } from "../../seal/diff.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos diff` */
export function diffVerb() {
  return verb("diff", {
    summary: "what two builds have put out, and how it differs",
    description:
      "Compares packages, every file of the root, systemd units, kernel, command line, firewall openings, nodes and sizes.\n" +
      "Reads the artifacts themselves and believes them: `kubedos verify` says whether they are what a foundry signed.",
    examples: [
      ["diff old/out/lab out/lab", "two output directories"],
      ["diff lab-1.qcow2 lab-2.raw", "two artifacts, each with its manifest.json beside it"],
      ["diff old/out/lab out/lab --json", "everything; the text cuts long lists"],
    ],
    exits: [1, 2, 130],
  })
    .argument("<old>", "output directory of a build, or an artifact in it")
    .argument("<new>", "the other")
    .action(async (oldPath, newPath, _options, command) => {
      await runVerb(command, async ({ signal, paint }) => {
        const [{ diffOutputs }, { openOutput }] = await Promise.all([
          import("../../seal/diff.ts"),
          import("../../seal/output.ts"),
        ]);
        const diff = diffOutputs(await openOutput(oldPath, signal), await openOutput(newPath, signal));
        return { data: { ...diff }, text: diffText(diff, paint) };
      });
    });
}

const mostListed = 60;

function diffText(diff: OutputDiff, paint: Paint): string {
  const { packages, files, units, openings, nodes, features, kernel, commandLine, sizes } = diff;
  const lines = [
    ...section("features", features, String, never, paint),
    ...section(
      "packages",
      packages,
      ({ name, version }) => `${name} ${version}`,
      ({ name, from, to }) => `${name} ${from} -> ${to}`,
      paint,
    ),
    ...(kernel === undefined ? [] : [`kernel: ${kernel.from} -> ${kernel.to}`]),
    ...(commandLine === undefined ? [] : [`command line: ${commandLine.from}\n           -> ${commandLine.to}`]),
    ...section("units", units, String, never, paint),
    ...section("firewall openings", openings, String, never, paint),
    ...section("nodes", nodes, String, String, paint),
    ...section("files", files, fileText, ({ path, from, to }) => `${path} ${changeText(from, to)}`, paint),
    ...(files === undefined ? ["files: not compared, one side has no artifact that can be read"] : []),
    ...(sizes.length === 0 ? [] : ["sizes:"]),
    ...sizes.map(({ what, from, to }) => `    ${what} ${size(from)} -> ${size(to)}`),
  ];
  if (lines.length > 0) return lines.join("\n");
  return diff.same ? "the same" : "the same but for the boot image's own bytes";
}

function never(): string {
  return "";
}

function section<T, C>(
  title: string,
  difference: Difference<T, C> | undefined,
  one: (item: T) => string,
  change: (item: C) => string,
  paint: Paint,
): string[] {
  if (difference === undefined) return [];
  const { added, removed, changed } = difference;
  const all = added.length + removed.length + changed.length;
  if (all === 0) return [];
  const lines = [
    ...removed.map((item) => paint.red(`  - ${printable(one(item))}`)),
    ...added.map((item) => paint.green(`  + ${printable(one(item))}`)),
    ...changed.map((item) => paint.yellow(`  ~ ${printable(change(item))}`)),
  ];
  const more = all > mostListed ? [paint.dim(`    … ${all - mostListed} more: --json lists all`)] : [];
  const head = `${title}: ${added.length} added, ${removed.length} removed, ${changed.length} changed`;
  return [paint.bold(head), ...lines.slice(0, mostListed), ...more];
}

function fileText({ path, type, mode, sizeBytes, target }: FileFacts): string {
  const what = type === "file" ? formatBytes(sizeBytes) : type === "link" ? `-> ${target ?? ""}` : type;
  return `${path} ${mode} ${what}`;
}

function changeText(from: FileFacts, to: FileFacts): string {
  const parts = (["type", "mode", "owner", "target"] as const).flatMap((field) =>
    from[field] === to[field] ? [] : [`${field} ${from[field] ?? "none"} -> ${to[field] ?? "none"}`],
  );
  if (from.sha256 !== to.sha256) {
    const short = (facts: FileFacts) => `${size(facts.sizeBytes)} ${facts.sha256?.slice(0, 12) ?? ""}`.trim();
    parts.push(`${short(from)} -> ${short(to)}`);
  }
  return parts.join(", ");
}

function size(bytes: number | undefined): string {
  return bytes === undefined ? "none" : formatBytes(bytes);
}

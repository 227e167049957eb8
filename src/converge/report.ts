import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { NodePhase } from "../../shared/events.ts";
import { convergenceProblems, type ConvergenceProgress } from "./progress.ts";
import { timelineLines } from "./timeline.ts";
import type { GateResult } from "./acceptance.ts";

/** What `up` found, for machines (report.json) and people (report.md). Times in seconds. */
export interface Report {
  format: 1;
  cluster: string;
  substrate: string;
  sealed: boolean;
  /** ISO 8601, UTC. */
  startedAt: string;
  passed: boolean;
  rootHash: string;
  artifacts: { target: string; path: string; sizeBytes: number; sha256: string }[];
  /** Seconds of each build stage; cached stages have 0. */
  stages: { stage: string; seconds: number; cached: boolean }[];
  timings: { build: number; boot: number; convergence?: number; gates: number; total: number };
  nodes: {
    node: string;
    roles: string[];
    phase: NodePhase;
    reachedSeconds: Partial<Record<NodePhase, number>>;
    problem?: string;
  }[];
  /** The hub's own run; absent where the platform has none. */
  convergence?: ConvergenceProgress;
  gates: GateResult[];
}

/** Writes both forms beside each other; returns the path of the readable one. */
export async function writeReport(directory: string, report: Report): Promise<string> {
  await mkdir(directory, { recursive: true });
  const put = async (name: string, text: string) => {
    const path = join(directory, name);
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
    return path;
  };
  await put("report.json", `${JSON.stringify(report, undefined, 2)}\n`);
  return put("report.md", reportText(report));
}

/** The report as Markdown. */
export function reportText(report: Report): string {
  const verdict = report.passed ? "passed" : "FAILED";
  const lines = [
    `# Acceptance of ${report.cluster}: ${verdict}`,
    "",
    `Substrate ${report.substrate}${report.sealed ? "" : " (unsealed)"}, started ${report.startedAt}, root hash \`${report.rootHash}\`.`,
    "",
    "| step | s |",
    "|---|---|",
    ...Object.entries(report.timings).map(([name, seconds]) => `| ${name} | ${seconds.toFixed(1)} |`),
    "",
    "## Artifacts",
    "",
    ...report.artifacts.map(
      (item) => `- ${item.target}: \`${item.path}\`, ${item.sizeBytes} bytes, sha256 \`${item.sha256}\``,
    ),
    "",
    "## Stages",
    "",
    "| stage | s |",
    "|---|---|",
    ...report.stages.map((stage) => `| ${stage.stage} | ${stage.cached ? "cached" : stage.seconds.toFixed(1)} |`),
    "",
    "## Nodes",
    "",
    "| node | roles | phase | reached (s of uptime) |",
    "|---|---|---|---|",
    ...report.nodes.map((node) => {
      const reached = Object.entries(node.reachedSeconds).map(([phase, seconds]) => `${phase} ${seconds?.toFixed(1)}`);
      const problem = node.problem === undefined ? "" : `: ${node.problem}`;
      return `| ${node.node} | ${node.roles.join(", ")} | ${node.phase}${problem} | ${reached.join(", ")} |`;
    }),
    "",
    ...convergenceLines(report),
    "## Gates",
    "",
    ...report.gates.flatMap((gate) => [
      `### ${gate.gate}: ${gate.passed ? "passed" : "FAILED"} (${gate.seconds.toFixed(1)} s)`,
      "",
      `${gate.summary}.`,
      "",
      ...gate.checks.map((check) => `- ${check.ok ? "ok" : "**failed**"} ${check.what}: ${check.evidence}`),
      "",
    ]),
  ];
  return `${lines.join("\n")}\n`;
}

/** Where the time went: a table of stages and nodes, in seconds from a node's first task to the end of its last. */
function convergenceLines({ convergence, nodes }: Report): string[] {
  if (convergence === undefined) return [];
  const ran = convergence.stages.filter(({ status }) => status !== "skipped");
  const names = nodes.map(({ node }) => node);
  return [
    `## Convergence: ${convergence.outcome}`,
    "",
    `| stage | status | s | changed | ${names.join(" | ")} |`,
    `|${"---|".repeat(4 + names.length)}`,
    ...ran.map(({ stage, status, seconds, changed, nodes: results }) => {
      const cells = names.map((name) => results[name]?.seconds.toFixed(1) ?? "");
      return `| ${[stage, status, seconds?.toFixed(1) ?? "", String(changed), ...cells].join(" | ")} |`;
    }),
    "",
    ...timelineLines(convergence, names),
    ...convergenceProblems(convergence).map((problem) => `- **failed** ${problem.replaceAll("\n", " ")}`),
    ...(convergenceProblems(convergence).length > 0 ? [""] : []),
  ];
}

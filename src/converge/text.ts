import { KubedosError } from "../../shared/error.ts";
import { convergenceProblems, type ConvergenceProgress } from "./progress.ts";

/** The error that a convergence which did not pass ends a verb with. */
export function convergenceError(progress: ConvergenceProgress, reportFile?: string): KubedosError {
  const failed = progress.stages.find(({ status }) => status === "failed");
  const next =
    failed === undefined ? "`kubedos converge` runs it again" : `\`kubedos logs ${failed.stage}\` shows what ran`;
  const hint = reportFile === undefined ? next : `${next}; the report is in ${reportFile}`;
  const problems = convergenceProblems(progress).map((message) => ({ message }));
  return new KubedosError("gate", `the convergence ${progress.outcome === "failed" ? "failed" : "was interrupted"}`, {
    problems,
    hint,
  });
}

/** The graph for people: one line a stage. Stages that this platform has no use for are left out. */
export function convergenceText(progress: ConvergenceProgress): string {
  const seconds = progress.seconds === undefined ? "" : ` in ${progress.seconds.toFixed(1)} s`;
  const head = `convergence ${progress.run}${progress.check ? " (check only)" : ""}: ${progress.outcome}, ${progress.changed} changed${seconds}`;
  const lines = progress.stages
    .filter(({ status }) => status !== "skipped")
    .map((stage) => {
      const took = stage.seconds === undefined ? "" : `${stage.seconds.toFixed(1)} s`;
      const nodes = Object.entries(stage.nodes)
        .filter(([, node]) => node.changed + node.failed + node.unreachable > 0)
        .map(([name, { changed, failed, unreachable }]) =>
          [
            name,
            changed > 0 ? `changed ${changed}` : "",
            failed > 0 ? "FAILED" : "",
            unreachable > 0 ? "not there" : "",
          ]
            .filter((part) => part !== "")
            .join(" "),
        );
      return `  ${stage.stage.padEnd(14)} ${stage.status.padEnd(9)} ${took.padStart(8)}  ${nodes.join(", ")}`.trimEnd();
    });
  return [head, ...lines, ...convergenceProblems(progress).map((problem) => `  ${problem}`)].join("\n");
}

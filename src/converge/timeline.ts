import type { ConvergenceProgress } from "./progress.ts";

const columns = 60;
/** Above it the lines of single nodes say less than they hide. */
const mostNodes = 24;

/**
 * When each stage and each node of it ran, as Markdown: bars over one axis, which begins with the run and ends with the
 * last stage. A node's bar goes from its first task to the end of its last one. Empty where no stage has said when it began.
 */
export function timelineLines(progress: Pick<ConvergenceProgress, "stages">, nodes: readonly string[]): string[] {
  const ran = progress.stages.filter((stage) => stage.startSeconds !== undefined && stage.seconds !== undefined);
  const end = Math.max(0, ...ran.map(({ startSeconds = 0, seconds = 0 }) => startSeconds + seconds));
  if (end === 0) return [];
  const rows = ran.flatMap(({ stage, startSeconds = 0, seconds = 0, nodes: results }) => [
    { label: stage, from: startSeconds, to: startSeconds + seconds, mark: "█" },
    ...(nodes.length > mostNodes ? [] : nodes).flatMap((node) => {
      const result = results[node];
      if (result?.startSeconds === undefined) return [];
      return [{ label: `  ${node}`, from: result.startSeconds, to: result.startSeconds + result.seconds, mark: "▒" }];
    }),
  ]);
  const width = Math.max(...rows.map(({ label }) => label.length));
  const column = (seconds: number) => Math.min(columns - 1, Math.floor((seconds / end) * columns));
  const last = `${end.toFixed(1)} s`;
  return [
    "```",
    `${"".padEnd(width)}  0 s${last.padStart(columns - 3)}`,
    ...rows.map(({ label, from, to, mark }) => {
      const bar = " ".repeat(column(from)) + mark.repeat(column(to) - column(from) + 1);
      return `${label.padEnd(width)}  ${bar.padEnd(columns)}  ${from.toFixed(1)} – ${to.toFixed(1)}`;
    }),
    "```",
    "",
  ];
}

import { expect, test } from "vitest";
import type { ConvergenceProgress } from "./progress.ts";
import { timelineLines } from "./timeline.ts";

function node(startSeconds: number, seconds: number) {
  return { ok: 1, changed: 0, failed: 0, unreachable: 0, skipped: 0, seconds, startSeconds };
}

test("bars of stages and nodes over one axis", () => {
  const stages: ConvergenceProgress["stages"] = [
    { stage: "fabric", status: "done", startSeconds: 0, seconds: 1, changed: 0, nodes: { hub: node(0, 0.5) } },
    { stage: "runtime", status: "kept", changed: 0, nodes: {} },
    { stage: "baseline", status: "done", startSeconds: 1, seconds: 9, changed: 0, nodes: { hub: node(2, 4) } },
  ];
  const bar = (from: number, to: number, mark: string) => (" ".repeat(from) + mark.repeat(to - from + 1)).padEnd(60);
  expect(timelineLines({ stages }, ["hub", "core-1"])).toEqual([
    "```",
    `${" ".repeat(8)}  0 s${" ".repeat(51)}10.0 s`,
    `fabric    ${bar(0, 6, "█")}  0.0 – 1.0`,
    `  hub     ${bar(0, 3, "▒")}  0.0 – 0.5`,
    `baseline  ${bar(6, 59, "█")}  1.0 – 10.0`,
    `  hub     ${bar(12, 36, "▒")}  2.0 – 6.0`,
    "```",
    "",
  ]);
});

test("nothing where no stage says when it began", () => {
  const stages: ConvergenceProgress["stages"] = [
    { stage: "fabric", status: "done", seconds: 1, changed: 0, nodes: {} },
  ];
  expect(timelineLines({ stages }, ["hub"])).toEqual([]);
});

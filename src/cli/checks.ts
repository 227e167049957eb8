import { exitCodes } from "../../shared/error.ts";
import type { CheckStatus, VerifyCheck } from "../seal/verify.ts";
import { findingText } from "./findings.ts";
import { count, type Paint, printable } from "./format.ts";
import { formatTable } from "../../shared/table.ts";

/** What a list of checks comes to. */
export type Verdict = "ok" | "failed" | "not-checked";

/** Exit status of each verdict: what could not be checked is not good. */
export const verdictStatus = { ok: 0, failed: exitCodes.failed, "not-checked": exitCodes.gate } as const;

const labels = {
  ok: "ok",
  failed: "FAILED",
  "not-checked": "NOT CHECKED",
  skipped: "left out",
} as const satisfies Record<CheckStatus, string>;

/** The checks as a table, findings below their line, and the verdict. */
export function checksText(checks: readonly VerifyCheck[], outcome: Verdict, paint: Paint): string {
  const paints = { ok: paint.green, failed: paint.red, "not-checked": paint.yellow, skipped: paint.dim };
  const header = ["file", "checked", "result", "what"];
  const rows = checks.map(({ file, check, status, detail }) => [printable(file), check, labels[status], detail]);
  const [head, ...lines] = formatTable(header, rows).split("\n");
  const table = checks.flatMap(({ status, findings }, index) => [
    lines[index]!.replace(labels[status], paints[status]),
    ...findings.map((finding) => paint.red(`    ${findingText(finding)}`)),
  ]);
  return [head, ...table, "", closing(checks, outcome, paint)].join("\n");
}

function closing(checks: readonly VerifyCheck[], outcome: Verdict, paint: Paint): string {
  const number = (status: CheckStatus) => checks.filter((check) => check.status === status).length;
  if (outcome === "failed") return paint.red(`${count(number("failed"), "check")} failed`);
  if (outcome === "not-checked") {
    const key = checks.some(({ check, status }) => check === "key" && status === "not-checked");
    const hint = key
      ? "\nwhoever made the artifacts chose the key beside them: give the foundry's with --key, or compare it and add --any-key"
      : "";
    return paint.yellow(`nothing wrong found, but ${number("not-checked")} not checked${hint}`);
  }
  const left = number("skipped") === 0 ? "" : `, ${number("skipped")} left out as asked`;
  return paint.green(`all good: ${count(number("ok"), "check")}${left}`);
}

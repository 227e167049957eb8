import { InvalidArgumentError, Option } from "@commander-js/extra-typings";
import { exitCodes } from "../../../shared/error.ts";
import type { Severity } from "../../audit/audit.ts";
import type { AuditReport } from "../../lifecycle/audit.ts";
import { count, printable } from "../format.ts";
import { formatTable } from "../../../shared/table.ts";
import { defaultSpecFile } from "../options.ts";
import { runVerb, verb } from "../verb.ts";

const severityNames = ["unimportant", "low", "medium", "high"] as const satisfies readonly Severity[];

/** `kubedos audit [spec]` */
export function auditVerb() {
  return verb("audit", {
    summary: "list known vulnerabilities of what a lock pins",
    description:
      "Matches the lock's Debian packages with the data of Debian's security tracker that `lock` has stored: what was known\n" +
      "on that date, without any network. What Debian has not judged yet counts as medium. With --severity, exit status 3\n" +
      "when something at or above it is found. Python distributions, files and images are named as not covered.",
    examples: [
      ["audit lab.yaml", "every known vulnerability, the most severe first"],
      ["audit lab.yaml --severity high", "fail when there is a severe one"],
      ["audit lab.yaml --severity medium --ignore CVE-2026-0001", "but for one that does not concern us"],
      ["audit lab.yaml --json", "the same for machines"],
    ],
    exits: [1, 2, 3, 4, 130],
  })
    .argument("[spec]", "spec file; its lock is beside it", defaultSpecFile)
    .addOption(new Option("--severity <severity>", "fail from this severity on").choices(severityNames))
    .option("--ignore <cve...>", "leave these out", collectCves, [] as string[])
    .action(async (file, options, command) => {
      await runVerb(command, async () => {
        const [{ auditLockFile }, { cacheDirectory, specPaths }, { openStore }] = await Promise.all([
          import("../../lifecycle/audit.ts"),
          import("../../host/paths.ts"),
          import("../../store/store.ts"),
        ]);
        const store = await openStore(cacheDirectory());
        const report = await auditLockFile(
          specPaths(file).lock,
          { severity: options.severity, ignore: options.ignore },
          store,
        );
        return {
          data: { ...report },
          text: auditText(report, options.severity),
          status: report.above.length > 0 ? exitCodes.gate : 0,
        };
      });
    });
}

function auditText(report: AuditReport, severity: Severity | undefined): string {
  const { vulnerabilities, checked, notCovered, above, date, ignored } = report;
  const rows = vulnerabilities.map((one) => [
    one.cve,
    one.package,
    one.installed,
    one.fixed ?? (one.noUpdate === undefined ? "none yet" : `none (${one.noUpdate})`),
    one.urgency,
    one.layers.join(", "),
  ]);
  const table = formatTable(["CVE", "package", "installed", "fixed in", "urgency", "layer"], rows);
  const day = new Date(date * 1000).toISOString().slice(0, 10);
  const lines = [
    ...(rows.length > 0 ? [printable(table), ""] : []),
    `${count(vulnerabilities.length, "vulnerability", "vulnerabilities")} in ${count(checked, "package")}, as known on ${day}`,
    ...(ignored.length > 0 ? [`ignored: ${ignored.join(", ")}`] : []),
    ...(notCovered.length > 0 ? [`not covered by these data: ${notCovered.join(", ")}`] : []),
    ...(severity === undefined
      ? []
      : [`${above.length === 0 ? "none" : above.length} of severity ${severity} or above`]),
  ];
  return lines.join("\n");
}

function collectCves(text: string, before: string[]): string[] {
  if (/^[A-Z]+-[\w-]+$/.test(text)) return [...before, text];
  throw new InvalidArgumentError("write the name of a vulnerability, e.g. CVE-2026-0001.");
}

import { exitCodes } from "../../../shared/error.ts";
import type { CheckStatus, VerifyCheck } from "../../seal/verify.ts";
import { count, formatTable, type Paint, printable } from "../format.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos verify` */
export function verifyVerb() {
  return verb("verify", {
    summary: "check artifacts with nothing but the foundry's public key",
    description:
      "Reads every byte: the manifest's signature, the hash of every file, both partition tables, the boot image and its\n" +
      "Secure Boot signature, and the whole root against its hash tree. All that is wrong is listed, with its file,\n" +
      "structure and offset. What could not be checked is not good: exit status 3.",
    examples: [
      ["verify out/cluster --key foundry.pub", "everything that a build has put out"],
      ["verify out/cluster/cluster.qcow2 --key foundry.pub", "one artifact of it"],
      ["verify out/cluster --any-key", "whole and unaltered, by whomever it was made"],
    ],
    exits: [1, 2, 3, 130],
  })
    .argument("<path>", "output directory of a build, or an artifact in it")
    .option("--key <key>", "the foundry's public key: foundry.pub, foundry.pem, or the line of trust.foundryKey")
    .option("--any-key", "without --key: be content with the key that lies beside the artifacts")
    .option("--without-authenticode", "leave out the Secure Boot signature, which needs sbverify")
    .action(async (path, options, command) => {
      await runVerb(command, async ({ signal, paint }) => {
        const { verdict, verifyOutput } = await import("../../seal/verify.ts");
        const result = await verifyOutput({
          path,
          key: options.key,
          anyKey: options.anyKey === true,
          withoutAuthenticode: options.withoutAuthenticode === true,
          signal,
        });
        const outcome = verdict(result.checks);
        return {
          data: { ...result, verdict: outcome },
          text: verifyText(result.checks, outcome, paint),
          status: { ok: 0, failed: exitCodes.failed, "not-checked": exitCodes.gate }[outcome],
        };
      });
    });
}

const labels = {
  ok: "ok",
  failed: "FAILED",
  "not-checked": "NOT CHECKED",
  skipped: "left out",
} as const satisfies Record<CheckStatus, string>;

function verifyText(checks: readonly VerifyCheck[], outcome: "ok" | "failed" | "not-checked", paint: Paint): string {
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

function findingText({ structure, offsetBytes, message }: VerifyCheck["findings"][number]): string {
  return printable(`${structure}${offsetBytes === undefined ? "" : `, byte ${offsetBytes}`}: ${message}`);
}

function closing(checks: readonly VerifyCheck[], outcome: "ok" | "failed" | "not-checked", paint: Paint): string {
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

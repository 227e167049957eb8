import { exitCodes } from "../../../shared/error.ts";
import { runVerb, verb } from "../verb.ts";

/** `kubedos doctor` */
export function doctorVerb() {
  return verb("doctor", {
    summary: "show what this host lacks, and how to get it",
    description: "Looks at tools, permissions, devices, disk and memory. Changes nothing.",
    examples: [
      ["doctor", "what is there, what is missing, and for what it is needed"],
      ["doctor --json", "the same as data"],
    ],
    exits: [1, 130],
  }).action(async (_options, command) => {
    await runVerb(command, async ({ paint }) => {
      const [{ describeFindings, examineHost }, { hostProbe }, { cacheDirectory }] = await Promise.all([
        import("../doctor.ts"),
        import("../../host/probe.ts"),
        import("../../host/paths.ts"),
      ]);
      const findings = await examineHost(hostProbe(), cacheDirectory());
      const lacking = findings.some((one) => one.state === "lacks");
      return {
        data: { findings },
        text: describeFindings(findings, paint),
        status: lacking ? exitCodes.failed : 0,
      };
    });
  });
}

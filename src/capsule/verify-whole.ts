import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { verifyOutput, type VerifyCheck } from "../seal/verify.ts";
import { capsuleFolders } from "./format.ts";
import { verifyCapsule, type CapsuleVerifyOptions } from "./verify.ts";

/** `verifyCapsule`, and `verifyOutput` of the artifacts in it. */
export async function verifyCapsuleWhole(
  directory: string,
  options: CapsuleVerifyOptions & { withoutAuthenticode: boolean; revoked?: string },
): Promise<VerifyCheck[]> {
  const checks = await verifyCapsule(directory, options);
  try {
    const result = await verifyOutput({ ...options, path: join(directory, capsuleFolders.artifacts) });
    checks.push(
      ...result.checks
        .filter(({ check }) => check !== "key" || options.key !== undefined)
        .map((check) => ({ ...check, file: `${capsuleFolders.artifacts}/${check.file}` })),
    );
  } catch (error) {
    if (!(error instanceof KubedosError)) throw error;
    const findings = [{ structure: capsuleFolders.artifacts, message: error.message }];
    checks.push({ check: "artifacts", file: capsuleFolders.artifacts, status: "failed", detail: "", findings });
  }
  return checks;
}

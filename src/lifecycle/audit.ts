import { readFile } from "node:fs/promises";
import { KubedosError } from "../../shared/error.ts";
import { atLeast, auditLock, type AuditResult, type Severity, type Vulnerability } from "../audit/audit.ts";
import { parseSnapshot } from "../audit/tracker.ts";
import { readLock } from "../lock/file.ts";
import type { Store } from "../store/store.ts";

export interface AuditReport extends AuditResult {
  /** Date of the data, seconds since 1970. */
  date: number;
  /** At or above the threshold, without those that are to be ignored. Empty without a threshold. */
  above: Vulnerability[];
  /** Of the CVEs to be ignored, those that were found. */
  ignored: string[];
}

/**
 * Audits a lock with the data that it refers to; uses no network.
 *
 * @throws KubedosError when there is no lock, it has no data, or the store lacks them: never an empty result
 */
export async function auditLockFile(
  lockFile: string,
  options: { severity?: Severity; ignore: readonly string[] },
  store: Store,
): Promise<AuditReport> {
  const lock = await readLock(lockFile);
  if (lock === undefined) {
    throw new KubedosError("spec", `there is no lock: ${lockFile}`, { hint: "run `kubedos lock` first" });
  }
  const data = lock.securityData;
  if (data === undefined) {
    throw new KubedosError("failed", `${lockFile} holds no security data: nothing was checked`, {
      at: { file: lockFile },
      hint: "run `kubedos lock --update` where Debian's security tracker can be reached, or with --security-tracker FILE",
    });
  }
  if ((await store.verify(data.sha256, { sizeBytes: data.sizeBytes })) !== "ok") {
    throw new KubedosError("offline", `the security data of ${lockFile} are not in the store: nothing was checked`, {
      hint: "import the capsule that holds them, or run `kubedos lock --update`",
    });
  }
  const result = auditLock(lock, parseSnapshot(await readFile(store.path(data.sha256), "utf8")));
  const found = new Set(result.vulnerabilities.map(({ cve }) => cve));
  const vulnerabilities = result.vulnerabilities.filter(({ cve }) => !options.ignore.includes(cve));
  return {
    ...result,
    vulnerabilities,
    date: data.date,
    above: options.severity === undefined ? [] : atLeast(vulnerabilities, options.severity),
    ignored: options.ignore.filter((cve) => found.has(cve)),
  };
}

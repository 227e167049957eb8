import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { fetchTracker, lockSecurity } from "../../src/lock/security.ts";
import { writeLock } from "../../src/lock/file.ts";
import { openStore } from "../../src/store/store.ts";
import { auditedLock, trackerDocument } from "../fakes/security-tracker.ts";
import { kubedos } from "./kubedos.ts";

test("audit: a table, exit status 3 from a severity on, JSON for machines, and an error without data", async () => {
  const directory = await mkdtemp(join(tmpdir(), "kubedos-audit-"));
  try {
    const spec = join(directory, "lab.yaml");
    const env = { KUBEDOS_CACHE: join(directory, "cache") };
    const store = await openStore(env.KUBEDOS_CACHE);
    const tracker = join(directory, "tracker.json");
    await writeFile(tracker, JSON.stringify(trackerDocument()));
    const context = { emit: () => undefined, signal: new AbortController().signal };
    const document = await fetchTracker(tracker, context);
    const securityData = await lockSecurity({ ...document!, date: 1_767_225_600 }, auditedLock(), store);
    await writeLock(join(directory, "lab.lock"), { ...auditedLock(), ...(securityData && { securityData }) });

    const all = await kubedos(["audit", spec, "--offline"], { env });
    expect([all.status, all.stderr]).toEqual([0, ""]);
    expect(all.stdout).toMatch(/^CVE +package +installed +fixed in +urgency +layer$/m);
    expect(all.stdout).toMatch(
      /^CVE-2026-0001 +libssl3t64 +3.5.7-1~deb13u3 +3.5.7-1~deb13u4 +high +platform, foundry$/m,
    );
    expect(all.stdout).toContain("4 vulnerabilities in 5 packages, as known on 2026-01-01");
    expect(all.stdout).toContain("not covered by these data: vendor-tool 1.0 of vendor, kubelet (file)");

    const high = await kubedos(["audit", spec, "--severity", "high", "--json"], { env });
    expect(high.status).toBe(3);
    expect(high.stdout).toContain('"cve":"CVE-2026-0001"');
    const ignored = await kubedos(["audit", spec, "--severity", "high", "--ignore", "CVE-2026-0001"], { env });
    expect(ignored.status).toBe(0);

    await writeLock(join(directory, "lab.lock"), auditedLock());
    const none = await kubedos(["audit", spec], { env });
    expect(none.status).toBe(1);
    expect(none.stderr).toContain("holds no security data: nothing was checked");
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startFakeMirror } from "../../tests/fakes/mirror.ts";
import { auditedLock, trackerDocument } from "../../tests/fakes/security-tracker.ts";
import { writeLock } from "../lock/file.ts";
import { fetchTracker, lockSecurity } from "../lock/security.ts";
import { openStore, type Store } from "../store/store.ts";
import { auditLockFile } from "./audit.ts";
import { errorOf } from "../../tests/fakes/errors.ts";

let directory: string;
let store: Store;
let lockFile: string;
const events: { type: string; message?: string }[] = [];
const context = { emit: (event: { type: string }) => void events.push(event), signal: new AbortController().signal };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-audit-"));
  store = await openStore(join(directory, "cache"));
  lockFile = join(directory, "lab.lock");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

/** A lock with the document's data, written. */
async function lockWithData(): Promise<void> {
  const file = join(directory, "tracker.json");
  await writeFile(file, JSON.stringify(trackerDocument()));
  const lock = auditedLock();
  const securityData = (await lockSecurity(await fetchTracker(file, context), lock, store))!;
  await writeLock(lockFile, { ...lock, securityData });
}

test("what is vulnerable, in which layer, and what was not looked at", async () => {
  await lockWithData();
  const report = await auditLockFile(lockFile, { ignore: [] }, store);
  const lines = report.vulnerabilities.map(
    ({ cve, package: name, fixed, severity, noUpdate, layers }) =>
      `${cve} ${name} ${fixed ?? noUpdate ?? "-"} ${severity} ${layers.join("+")}`,
  );
  expect(lines).toEqual([
    "CVE-2026-0001 libssl3t64 3.5.7-1~deb13u4 high platform+foundry",
    "CVE-2026-0010 linux-image-6.12.63-amd64 6.12.70-1 medium platform+initrd",
    "CVE-2026-0004 libssl3t64 postponed low platform+foundry",
    "CVE-2026-0020 busybox-static - unimportant foundry+initrd",
  ]);
  expect(report.checked).toBe(5);
  expect(report.notCovered).toEqual(["vendor-tool 1.0 of vendor", "kubelet (file)"]);
});

test("a threshold counts what is at or above it, without what is ignored", async () => {
  await lockWithData();
  const above = async (severity: "low" | "medium" | "high", ...ignore: string[]) =>
    (await auditLockFile(lockFile, { severity, ignore }, store)).above.length;
  expect([await above("low"), await above("medium"), await above("high")]).toEqual([3, 2, 1]);
  expect(await above("high", "CVE-2026-0001")).toBe(0);
  const { ignored } = await auditLockFile(lockFile, { ignore: ["CVE-2026-0001", "CVE-1999-0001"] }, store);
  expect(ignored).toEqual(["CVE-2026-0001"]);
});

test("no data is an error, not an empty list: none in the lock, none in the store", async () => {
  await writeLock(lockFile, auditedLock());
  const none = await errorOf(auditLockFile(lockFile, { ignore: [] }, store));
  expect([none.code, none.message]).toEqual(["failed", `${lockFile} holds no security data: nothing was checked`]);
  await lockWithData();
  const empty = await openStore(join(directory, "other"));
  const missing = await errorOf(auditLockFile(lockFile, { ignore: [] }, empty));
  expect(missing.code).toBe("offline");
  expect(missing.message).toContain("not in the store");
});

test("the data come over http, compressed or not, with the server's date; the same document gives the same bytes", async () => {
  const web = await startFakeMirror();
  try {
    const text = Buffer.from(JSON.stringify(trackerDocument()));
    web.files.set("/json", gzipSync(text));
    const lock = auditedLock();
    const first = await lockSecurity(await fetchTracker(`${web.url}/json`, context), lock, store);
    web.files.set("/json", text);
    const second = await lockSecurity(await fetchTracker(`${web.url}/json`, context), lock, store);
    expect(second!.sha256).toBe(first!.sha256);
    web.files.set("/json", Buffer.from("<html>Service unavailable</html>"));
    const page = await fetchTracker(`${web.url}/json`, context);
    expect((await errorOf(lockSecurity(page, lock, store))).message).toContain("is not the data of Debian's");
    web.files.delete("/json");
    expect((await errorOf(fetchTracker(`${web.url}/json`, context))).message).toContain("404");
  } finally {
    await web.close();
  }
});

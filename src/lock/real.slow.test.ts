import { homedir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { formatLock, parseLock } from "./file.ts";
import { createLock } from "./lock.ts";

// Debian itself, through the mirror of this host's own apt; indexes are kept between runs.
test("the closure of a minimal system comes from Debian's own archive, signatures checked", async () => {
  const context = { emit: () => undefined, signal: new AbortController().signal, offline: false };
  const request = {
    suite: "trixie",
    profile: "base+updates",
    mirror: [],
    platform: ["systemd-sysv", "linux-image-cloud-amd64"],
    foundry: ["erofs-utils"],
    cache: join(homedir(), ".cache", "kubedos"),
  } as const;
  await createLock(request, context);
  const lock = await createLock(request, context);
  expect(parseLock(formatLock(lock), "real.lock")).toEqual(lock);
  const names = lock.platform.map((entry) => entry.name);
  expect(names).toEqual(expect.arrayContaining(["bash", "dpkg", "libc6", "systemd", "linux-image-cloud-amd64"]));
  expect(names.length).toBeGreaterThan(80);
  expect(lock.foundry.map((entry) => entry.name)).toContain("erofs-utils");
  expect(lock.suites.map((suite) => suite.suite)).toEqual(["trixie", "trixie-updates", "trixie-security"]);
  expect(lock.epoch).toBeGreaterThan(Date.UTC(2025, 7, 1) / 1000);
  expect(lock.platform.find((entry) => entry.name === "bash")?.path).toMatch(
    /^pool\/main\/b\/bash\/bash_.*_amd64\.deb$/,
  );
}, 120_000);

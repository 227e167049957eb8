import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { fakeSpec } from "../../tests/fakes/spec.ts";
import { specPaths } from "../host/paths.ts";
import { isDue, issueTime, readIssued } from "./issued.ts";

const day = 24 * 3600 * 1000;
let directory: string;
let paths: ReturnType<typeof specPaths>;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "kubedos-issued-"));
  paths = specPaths(join(directory, "lab.yaml"));
});
afterAll(() => {
  vi.useRealTimers();
  rmSync(directory, { recursive: true });
});

test("an instant is kept until half of the validity has passed, and renewed when asked", async () => {
  const spec = fakeSpec();
  const holder = { node: "hub-1" };
  const at = (date: string) => vi.setSystemTime(new Date(date));
  vi.useFakeTimers({ toFake: ["Date"] });
  at("2026-01-01T00:00:00.700Z");
  const first = await issueTime(paths, spec, holder);
  expect(first.toISOString()).toBe("2026-01-01T00:00:00.000Z");
  at("2026-02-14T00:00:00Z");
  expect(await issueTime(paths, spec, holder)).toEqual(first);
  at("2026-02-16T00:00:00Z");
  const second = await issueTime(paths, spec, holder);
  expect(second.toISOString()).toBe("2026-02-16T00:00:00.000Z");
  at("2026-02-17T00:00:00Z");
  expect(await issueTime(paths, spec, { operator: "admin" })).not.toEqual(second);
  expect((await issueTime(paths, spec, holder, { renew: true })).toISOString()).toBe("2026-02-17T00:00:00.000Z");
  spec.trust.certificateDays = 30;
  at("2026-02-18T00:00:00Z");
  expect((await issueTime(paths, spec, holder)).toISOString()).toBe("2026-02-18T00:00:00.000Z");
  expect(Object.keys((await readIssued(paths)).operators)).toEqual(["admin"]);
});

test("several at once do not lose each other's instants", async () => {
  vi.useRealTimers();
  const nodes = Array.from({ length: 8 }, (_, i) => `node-${i}`);
  await Promise.all(nodes.map((node) => issueTime(paths, fakeSpec(), { node })));
  expect(Object.keys((await readIssued(paths)).nodes)).toEqual(expect.arrayContaining(nodes));
});

test("a record from the future is not believed", () => {
  const now = Date.parse("2026-01-01T00:00:00Z");
  expect(isDue({ issuedAt: "2026-06-01T00:00:00Z", days: 90 }, 90, now)).toBe(true);
  expect(isDue({ issuedAt: new Date(now + day / 2).toISOString(), days: 90 }, 90, now)).toBe(false);
});

test("a damaged record is named, and what to do about it", async () => {
  const file = join(paths.state, "issued.json");
  const good = readFileSync(file, "utf8");
  for (const text of ["", "{", "[]", '{"format":2}', good.replace(/"issuedAt": "[^"]*"/, '"issuedAt": "soon"')]) {
    writeFileSync(file, text);
    await expect(readIssued(paths)).rejects.toThrow(/issued\.json is damaged/);
  }
});

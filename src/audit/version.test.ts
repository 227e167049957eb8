import fc from "fast-check";
import { expect, test } from "vitest";
import { run } from "../host/run.ts";
import { compareVersions } from "./version.ts";

/** What dpkg says, for many pairs with one shell-less process each. */
async function dpkgSays(a: string, b: string): Promise<number> {
  for (const [operator, answer] of [
    ["lt-nl", -1],
    ["eq", 0],
  ] as const) {
    const { status } = await run("dpkg", ["--compare-versions", a, operator, b], { okStatuses: [0, 1] });
    if (status === 0) return answer;
  }
  return 1;
}

test("examples of deb-version(7)", () => {
  const ordered = ["~~", "~~a", "~", "", "a"].map((text) => `1${text}`);
  expect(ordered.toReversed().toSorted(compareVersions)).toEqual(ordered);
  expect(compareVersions("1:0", "2")).toBeGreaterThan(0);
  expect(compareVersions("1.0", "1.0-0")).toBe(0);
  expect(compareVersions("3.5.7-1~deb13u3", "3.5.7-1")).toBeLessThan(0);
  expect(compareVersions("2.36-9+deb12u14", "2.36-9+deb12u9")).toBeGreaterThan(0);
});

test("any two versions: as dpkg orders them", async () => {
  const part = fc.string({ unit: fc.constantFrom("0", "1", "9", "a", "~", ".", "+", "Z"), maxLength: 8 });
  const version = fc
    .tuple(fc.constantFrom("", "0:", "1:", "12:"), fc.constantFrom("0", "1", "10"), part, fc.option(part))
    .map(
      ([epoch, digit, upstream, revision]) => `${epoch}${digit}${upstream}${revision === null ? "" : `-0${revision}`}`,
    );
  await fc.assert(
    fc.asyncProperty(version, version, async (a, b) => {
      expect(Math.sign(compareVersions(a, b)), `${a} and ${b}`).toBe(await dpkgSays(a, b));
    }),
    { numRuns: 250 },
  );
}, 60_000);

import fc from "fast-check";
import { expect, test } from "vitest";
import { count, formatBytes, formatSeconds, paintWith, printable, truncate } from "./format.ts";
import { formatTable } from "../../shared/table.ts";

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1.0 kB"],
  [174_000_000, "174 MB"],
  [99_950_000, "100 MB"],
  [999_600, "1.0 MB"],
  [2.5e12, "2.5 TB"],
  [7e15, "7000 TB"],
])("%d bytes is %s", (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test.each([
  [0.04, "0.0 s"],
  [59.9, "59.9 s"],
  [59.96, "1 min 00 s"],
  [125, "2 min 05 s"],
  [3725, "1 h 02 min"],
  [86_400 * 3 + 4 * 3600, "3 d 04 h"],
])("%d seconds is %s", (seconds, text) => {
  expect(formatSeconds(seconds)).toBe(text);
});

test("a count names one and many", () => {
  expect([count(1, "node"), count(0, "node"), count(2, "entry", "entries")]).toEqual([
    "1 node",
    "0 nodes",
    "2 entries",
  ]);
});

test("a table's columns line up and no line ends in a space", () => {
  expect(
    formatTable(
      ["NODE", "ROLE"],
      [
        ["core-1", "core"],
        ["h", ""],
      ],
    ),
  ).toBe("NODE    ROLE\ncore-1  core\nh");
});

test("text from outside cannot steer the terminal", () => {
  expect(printable("a\u001b[2Jb\rc\u0007\u009bd\u202ee\tf\ng")).toBe("a�[2Jb�c��d�e\tf\ng");
});

test("a cut line is never wider than asked for", () => {
  fc.assert(
    fc.property(fc.string(), fc.nat(100), (text, width) => {
      const line = truncate(text, width);
      expect(line.length).toBeLessThanOrEqual(width);
      expect(line).not.toContain("\n");
    }),
  );
});

test("paint leaves text alone where no colour is wanted", () => {
  expect(paintWith(false).red("x")).toBe("x");
  expect(paintWith(true).red("x")).toBe("\u001b[31mx\u001b[39m");
});

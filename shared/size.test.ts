import { expect, test } from "vitest";
import { parseBytes } from "./size.ts";

test("sizes with decimal and binary units, and without any", () => {
  expect(parseBytes("650MB")).toBe(650_000_000);
  expect(parseBytes("4.7 GB")).toBe(4_700_000_000);
  expect(parseBytes("16mib")).toBe(16 * 2 ** 20);
  expect(parseBytes("1")).toBe(1);
});

test("anything else is not a size", () => {
  for (const text of ["", "MB", "-1", "1e9", "1 XB", "1MB2", "one"]) expect(parseBytes(text)).toBeUndefined();
});

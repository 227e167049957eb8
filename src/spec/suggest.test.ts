import fc from "fast-check";
import { expect, test } from "vitest";
import { editDistance, nearest, suggestName } from "./suggest.ts";

test.each([
  ["", "", 0],
  ["abc", "", 3],
  ["nodes", "nodse", 1],
  ["kitten", "sitting", 3],
])("distance of %s and %s", (a, b, distance) => {
  expect(editDistance(a, b)).toBe(distance);
});

test("distance is symmetric, and zero only for equal words", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
      expect(editDistance(a, b)).toBe(editDistance(b, a));
      expect(editDistance(a, b) === 0).toBe(a === b);
    }),
  );
});

test("the nearest candidate, or none when none is near", () => {
  expect(nearest("Quemu", ["nspawn", "qemu"])).toBe("qemu");
  expect(nearest("memory", ["memoryMiB", "diskGiB"])).toBe("memoryMiB");
  expect(nearest("vmdk", ["raw", "qcow2"])).toBeUndefined();
  expect(suggestName("zzz", ["raw", "qcow2"])).toBe("write one of raw, qcow2");
});

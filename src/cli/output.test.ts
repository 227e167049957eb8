import { expect, test } from "vitest";
import { KubedosError } from "../../shared/error.ts";
import { paintWith } from "./format.ts";
import { asKubedosError, errorResult, formatError } from "./output.ts";

const plain = paintWith(false);

test("an error says what, where and what to do", () => {
  const error = new KubedosError("spec", "unknown role", {
    hint: "write hub",
    at: { file: "a.yaml", line: 3, col: 5 },
  });
  expect(formatError(error, plain)).toBe("error: a.yaml:3:5: unknown role\n  hint: write hub");
});

test("problems come by position, those without a place last, and are counted", () => {
  const error = new KubedosError("spec", "lab.yaml cannot be used", {
    problems: [
      { message: "third", at: { file: "b.yaml", line: 1, col: 1 } },
      { message: "last" },
      { message: "second", at: { file: "a.yaml", line: 10, col: 1 }, hint: "do this" },
      { message: "first", at: { file: "a.yaml", line: 9, col: 7 } },
    ],
  });
  expect(formatError(error, plain)).toBe(
    [
      "a.yaml:9:7: first",
      "a.yaml:10:1: second",
      "  hint: do this",
      "b.yaml:1:1: third",
      "last",
      "error: lab.yaml cannot be used",
      "  4 problems",
    ].join("\n"),
  );
});

test("a hint of several lines stays in its column", () => {
  const error = new KubedosError("failed", "no", { hint: "write\n  a: b" });
  expect(formatError(error, plain)).toBe("error: no\n  hint: write\n          a: b");
});

test("escape sequences in a message do not reach the terminal", () => {
  expect(formatError(new KubedosError("failed", "bad \u001b]0;x\u0007"), plain)).toBe("error: bad �]0;x�");
});

test("a full disk says how to get space", () => {
  const thrown = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
  expect(asKubedosError(thrown)).toMatchObject({ code: "failed", hint: expect.stringContaining("store gc") });
});

test("what is thrown after an abort counts as interrupted, a real error stays what it is", () => {
  expect(asKubedosError(new Error("aborted"), true).code).toBe("interrupted");
  expect(asKubedosError(new KubedosError("gate", "x"), true).code).toBe("gate");
});

test("an unknown exception is called a fault of kubedos, its stack only shown when asked for", () => {
  const error = asKubedosError(new TypeError("x is undefined"));
  expect(formatError(error, plain)).toContain("fault in kubedos");
  expect(formatError(error, plain)).not.toContain("output.test.ts");
  expect(formatError(error, plain, true)).toContain("output.test.ts");
});

test("the result object of an error has code, message, hint, place and problems", () => {
  const error = new KubedosError("spec", "m", { hint: "h", at: { file: "f" }, problems: [{ message: "p" }] });
  expect(JSON.parse(JSON.stringify(errorResult("check", "2026-01-01T00:00:00.000Z", error)))).toEqual({
    type: "result",
    at: "2026-01-01T00:00:00.000Z",
    verb: "check",
    ok: false,
    error: { code: "spec", message: "m", hint: "h", at: { file: "f" }, problems: [{ message: "p" }] },
  });
});

import { describe, expect, test } from "vitest";
import { indexText, parseIndex, sumsText, type CapsuleIndex } from "./format.ts";
import { parseSums } from "./verify.ts";

const sha256 = "a".repeat(64);

function index(path: string): CapsuleIndex {
  const files = [{ path, sizeBytes: 1, sha256 }];
  return { format: 1, cluster: "lab", epoch: 1, kubedos: "0.1.0", spec: "lab", vault: false, files };
}

test("what is written is read again", () => {
  const written = index("spec/ansible/a file.yml");
  expect(parseIndex(indexText(written), "capsule.json")).toEqual(written);
  expect(parseSums(sumsText(written.files))).toEqual(new Map([["spec/ansible/a file.yml", sha256]]));
});

describe("refused", () => {
  test("a newer format, with what to do", () => {
    const text = indexText(index("a")).replace('"format": 1', '"format": 7');
    expect(() => parseIndex(text, "capsule.json")).toThrow("capsule format 7");
  });

  test.each(["/etc/passwd", "../up", "a/../../up", "a//b", ".hidden", "a/.hidden", "a\nb", "a\\b", "a/"])(
    "the path %j",
    (path) => {
      expect(() => parseIndex(indexText(index(path)), "capsule.json")).toThrow("not a whole index");
      expect(parseSums(`${sha256}  ${path}\n`).has(path)).toBe(false);
    },
  );

  test("what is not JSON, or has a field that is not known", () => {
    expect(() => parseIndex("{", "capsule.json")).toThrow("not JSON");
    expect(() => parseIndex(JSON.stringify({ ...index("a"), more: 1 }), "capsule.json")).toThrow("not a whole index");
  });
});

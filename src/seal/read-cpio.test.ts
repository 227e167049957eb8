import { expect, test } from "vitest";
import { writeCpio } from "./cpio.ts";
import { readCpio } from "./read-cpio.ts";

const entries = [
  { path: "kubedos/layer/a", mode: 0o644, content: Buffer.from("one") },
  { path: "kubedos/layer/b", mode: 0o755, content: Buffer.alloc(5000, "two") },
];
const archive = Buffer.from(writeCpio(entries, 1_700_000_000, { directories: false }));

test("what is written is read again, with its mode", () => {
  const found = readCpio(archive).map(({ path, header, content }) => {
    return { path, mode: Number.parseInt(header.slice(0, 8), 16) & 0o7777, content: Buffer.from(content) };
  });
  expect(found).toEqual(entries);
});

test("cut anywhere, or with any byte of a header changed to what is no digit: an error, never a hang", () => {
  for (let length = 0; length < archive.length; length += 97) {
    expect(() => readCpio(archive.subarray(0, length))).toThrow(/cpio|cut off/);
  }
  for (let at = 0; at < 110; at++) {
    const damaged = Buffer.from(archive);
    damaged[at] = 0x2d; // a minus sign
    expect(outcome(damaged)).toMatch(/^(read|Error: )/);
  }
});

function outcome(bytes: Buffer): string {
  try {
    return `read ${readCpio(bytes).length}`;
  } catch (error) {
    return String(error);
  }
}

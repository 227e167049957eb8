import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { KubedosError } from "../../shared/error.ts";
import { run } from "../host/run.ts";
import { fakeStub } from "./testing.ts";
import { buildUki, readSections, type UkiSection } from "./uki.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-uki-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const names = [".osrel", ".cmdline", ".uname", ".initrd", ".linux"];
const sections = fc
  .array(fc.uint8Array({ maxLength: 3000 }), { maxLength: names.length })
  .map((contents) => contents.map((content, index): UkiSection => ({ name: names[index]!, content })));

function contentOf(image: Buffer, name: string): Buffer | undefined {
  const found = readSections(image).find((section) => section.name === name);
  return found && image.subarray(found.offset, found.offset + found.sizeBytes);
}

test("every section is read back as it went in, the stub's own too; the same input gives the same bytes", () => {
  fc.assert(
    fc.property(sections, fc.uint8Array({ minLength: 1, maxLength: 2000 }), (added, text) => {
      const stub = fakeStub(names.length, text);
      const image = buildUki(stub, added);
      expect(readSections(image).map(({ name }) => name)).toEqual([".text", ...added.map(({ name }) => name)]);
      expect(contentOf(image, ".text")?.equals(text)).toBe(true);
      for (const { name, content } of added) expect(contentOf(image, name)?.equals(content)).toBe(true);
      expect(buildUki(stub, added).equals(image)).toBe(true);
    }),
  );
});

test("objdump reads the same sections: sizes, bytes, no overlap in the file or in memory", async () => {
  const added = names.map((name, index) => ({ name, content: Buffer.alloc(700 * (index + 1) + index, index + 1) }));
  const file = join(directory, "image.efi");
  await writeFile(file, buildUki(fakeStub(names.length), added));
  const { stdout } = await run("objdump", ["-h", file]);
  const seen = [...stdout.matchAll(/^ +\d+ (\S+) +([0-9a-f]{8}) +([0-9a-f]{16}) +[0-9a-f]{16} +([0-9a-f]{8})/gm)].map(
    ([, name, size, address, offset]) => ({
      name,
      size: Number.parseInt(size!, 16),
      address: Number.parseInt(address!, 16),
      offset: Number.parseInt(offset!, 16),
    }),
  );
  expect(seen.map(({ name }) => name)).toEqual([".text", ...names]);
  expect(seen.slice(1).map(({ size }) => size)).toEqual(added.map(({ content }) => content.length));
  for (const [index, next] of seen.slice(1).entries()) {
    const before = seen[index]!;
    expect(next.address).toBeGreaterThanOrEqual(before.address + before.size);
    expect(next.address % 0x1000).toBe(0);
    expect(next.offset).toBeGreaterThanOrEqual(before.offset + before.size);
    expect(next.offset % 512).toBe(0);
  }
  const bytes = await readFile(file);
  for (const [index, { content }] of added.entries()) {
    const { offset, size } = seen[index + 1]!;
    expect(bytes.subarray(offset, offset + size).equals(content)).toBe(true);
  }
});

test("a stub without room for the headers is refused", () => {
  expect(() => buildUki(fakeStub(1), [{ name: ".a", content: Buffer.alloc(1) }])).not.toThrow();
  const two = [".a", ".b"].map((name) => ({ name, content: Buffer.alloc(1) }));
  expect(() => buildUki(fakeStub(1), two)).toThrow("no room for 2 more sections");
});

test.each([
  ["nothing", Buffer.alloc(0), "no MZ header"],
  ["a text", Buffer.from("#!/bin/sh\n".repeat(20)), "no MZ header"],
  ["an old DOS program", Buffer.concat([Buffer.from("MZ"), Buffer.alloc(500)]), "no PE header"],
  ["a 32-bit image", withWord(fakeStub(5), 0x98, 0x10b), "not 64-bit"],
  ["an image cut in its headers", fakeStub(5).subarray(0, 0x180), "truncated"],
  ["an image cut in its content", fakeStub(5).subarray(0, 1024), "truncated"],
  ["an image aligned to nothing", withWord(fakeStub(5), 0x98 + 36, 0), "alignment"],
])("%s is not taken for a stub", (_what, image, message) => {
  expect(() => buildUki(image, [])).toThrow(message);
  expect(() => readSections(image)).toThrow(message);
});

test("a section's name must fit", () => {
  expect(() => buildUki(fakeStub(5), [{ name: ".toolongname", content: Buffer.alloc(1) }])).toThrow(".toolongname");
});

test("whatever is wrong with an image, the error says so: no crash, nothing read from outside", () => {
  const stub = fakeStub(5);
  const damage = fc.array(fc.tuple(fc.nat(0x1c0), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)), {
    minLength: 1,
    maxLength: 6,
  });
  fc.assert(
    fc.property(damage, fc.nat(stub.length), (bytes, end) => {
      const image = Buffer.from(stub.subarray(0, stub.length - (end % 7 === 0 ? end : 0)));
      for (const [at, value] of bytes) if (at < image.length) image[at] = value;
      expect(["read", "refused"]).toContain(outcome(image));
    }),
    { numRuns: 3000 },
  );
});

function withWord(image: Buffer, at: number, value: number): Buffer {
  image.writeUInt32LE(value, at);
  return image;
}

function outcome(image: Buffer): string {
  try {
    buildUki(image, [{ name: ".linux", content: Buffer.alloc(100) }]);
    const outside = readSections(image).some(
      ({ offset, sizeBytes }) => sizeBytes > 0 && offset + sizeBytes > image.length,
    );
    return outside ? "reads outside" : "read";
  } catch (error) {
    return error instanceof KubedosError ? "refused" : String(error);
  }
}

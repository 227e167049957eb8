import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { KubedosError } from "../../shared/error.ts";
import { diffLocks, formatLockDiff, isSameLock } from "./diff.ts";
import { formatLock, parseLock, readLock, writeLock } from "./file.ts";
import type { Lock, LockedPackage } from "./types.ts";

const hex = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("hex"));
const packages = fc
  .uniqueArray(
    fc.record({
      name: fc.stringMatching(/^[a-z0-9][a-z0-9+.-]{1,20}$/),
      version: fc.stringMatching(/^[0-9][A-Za-z0-9.+~:-]{0,12}$/),
      architecture: fc.constantFrom("amd64", "all"),
      sizeBytes: fc.integer({ min: 1, max: 2 ** 40 }),
      sha256: hex,
      archive: fc.constant("debian"),
      suite: fc.constantFrom("trixie", "trixie-updates"),
      path: fc.stringMatching(/^pool\/main\/[a-z]\/[a-z0-9+-]{2,9}\/[A-Za-z0-9+~_%-]{1,20}\.deb$/),
    }),
    { selector: (entry) => entry.name, maxLength: 12 },
  )
  .map((list) => list.toSorted((a, b) => (a.name < b.name ? -1 : 1)));

const locks: fc.Arbitrary<Lock> = fc
  .record({ epoch: fc.integer({ min: 0, max: 2 ** 40 }), platform: packages, foundry: packages, releaseSha256: hex })
  .map(({ epoch, platform, foundry, releaseSha256 }) => ({
    format: 1,
    epoch,
    architecture: "amd64",
    suites: [{ archive: "debian", suite: "trixie", components: ["main"], releaseSha256, date: epoch }],
    requested: {
      platform: platform.filter((_, index) => index % 2 === 0).map((entry) => entry.name),
      foundry: foundry.slice(0, 1).map((entry) => entry.name),
    },
    platform,
    foundry,
  }));

function entry(name: string, version = "1.0", byte = "a"): LockedPackage {
  const path = `pool/main/x/${name}_${version}_amd64.deb`;
  return {
    name,
    version,
    architecture: "amd64",
    sizeBytes: 10,
    sha256: byte.repeat(64),
    archive: "debian",
    suite: "trixie",
    path,
  };
}

function lockOf(platform: LockedPackage[], epoch = 0): Lock {
  const suites = [{ archive: "debian", suite: "trixie", components: ["main"], releaseSha256: "0".repeat(64), date: 0 }];
  return {
    format: 1,
    epoch,
    architecture: "amd64",
    suites,
    requested: { platform: [], foundry: [] },
    platform,
    foundry: [],
  };
}

function refusal(text: string): KubedosError {
  try {
    parseLock(text, "lab.lock");
  } catch (error) {
    return error as KubedosError;
  }
  throw new Error("was accepted");
}

test("what is written is read back the same, as one line a package", () => {
  fc.assert(
    fc.property(locks, (lock) => {
      const text = formatLock(lock);
      expect(parseLock(text, "lab.lock")).toEqual(lock);
      expect(text.endsWith("}\n")).toBe(true);
      for (const each of lock.platform)
        expect(text.split("\n").filter((line) => line.includes(`"name":"${each.name}"`)).length).toBeLessThanOrEqual(2);
    }),
  );
});

function outcome(work: () => unknown): string {
  try {
    work();
    return "accepted";
  } catch (error) {
    return error instanceof KubedosError ? "KubedosError" : String(error);
  }
}

test("any damage to the text is refused with an error of ours, or changes nothing that is not a value", () => {
  fc.assert(
    fc.property(locks, fc.nat(), fc.constantFrom("", "x", '"', "{", "\0"), (lock, at, insert) => {
      const text = formatLock(lock);
      const position = at % text.length;
      const damaged = text.slice(0, position) + insert + text.slice(position + 1);
      expect(outcome(() => parseLock(damaged, "lab.lock"))).toMatch(/^(accepted|KubedosError)$/);
    }),
  );
});

test("writing replaces the file whole and leaves nothing else", async () => {
  const directory = await mkdtemp(join(tmpdir(), "kubedos-file-"));
  try {
    const file = join(directory, "lab.lock");
    expect(await readLock(file)).toBeUndefined();
    await writeFile(file, "old");
    await writeLock(file, lockOf([entry("a1"), entry("b1")]));
    expect(await readLock(file)).toEqual(lockOf([entry("a1"), entry("b1")]));
    expect((await readFile(file, "utf8")).endsWith("\n")).toBe(true);
    expect(await readdir(directory)).toEqual(["lab.lock"]);
    await expect(writeLock(join(directory, "no/such/lab.lock"), lockOf([]))).rejects.toThrow("cannot write");
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test.each([
  ["not JSON", (text: string) => text.replace('"epoch": 0,', '"epoch": 0'), /not JSON/, 4],
  [
    "a newer format",
    (text: string) => text.replace('"format": 1', '"format": 2'),
    /lock format 2; this kubedos reads up to 1/,
    2,
  ],
  ["an edited hash", (text: string) => text.replace("aaaa", "AAAA"), /platform\[0\]\.sha256: must be 64/, 13],
  ["a missing field", (text: string) => text.replace('"sizeBytes":10,', ""), /platform\[0\]\.sizeBytes/, 13],
  [
    "an unknown field",
    (text: string) => text.replace('"name":"b1"', '"host":"x","name":"b1"'),
    /platform\[1\].*host/,
    14,
  ],
  [
    "a path that leaves the mirror",
    (text: string) => text.replace("pool/main/x/b", "pool/../../x/b"),
    /must not contain/,
    14,
  ],
  ["a duplicate", (text: string) => text.replaceAll('"name":"b1"', '"name":"a1"'), /platform: a1 is listed twice/, 13],
  [
    "a wrong order",
    (text: string) => text.replaceAll('"name":"a1"', '"name":"c1"'),
    /platform: b1 is not in order/,
    14,
  ],
  [
    "an unknown archive",
    (text: string) =>
      text.replace(
        '"archive":"debian","suite":"trixie","path":"pool/main/x/b',
        '"archive":"else","suite":"trixie","path":"pool/main/x/b',
      ),
    /b1: no suite of archive else/,
    14,
  ],
  ["something else entirely", () => "[]\n", /not a valid lock/, undefined],
])("%s is refused with its line", (_, damage, message, line) => {
  const error = refusal(damage(formatLock(lockOf([entry("a1"), entry("b1")]))));
  expect(error.code).toBe("spec");
  expect(error.message).toMatch(message);
  expect(error.at?.line).toBe(line);
  expect(error.hint).toBeDefined();
});

test("diffLocks tells what an update changed, also other bytes under the same version", () => {
  const before = lockOf([entry("gone"), entry("kept"), entry("moved"), entry("redone")], 0);
  const after = lockOf([entry("kept"), entry("moved", "1.1", "b"), entry("new"), entry("redone", "1.0", "c")], 86_400);
  const diff = diffLocks(before, after);
  expect(isSameLock(diff)).toBe(false);
  expect(formatLockDiff(diff)).toBe(
    "epoch 1970-01-01T00:00:00Z -> 1970-01-02T00:00:00Z\n" +
      "platform: 1 added, 1 removed, 2 changed\n" +
      "  - gone 1.0\n" +
      "  ~ moved 1.0 -> 1.1\n" +
      "  + new 1.0\n" +
      "  ~ redone 1.0: same version, other bytes (aaaaaaaaaaaa -> cccccccccccc)\n",
  );
  expect(formatLockDiff(diffLocks(before, before))).toBe("nothing changed\n");
});

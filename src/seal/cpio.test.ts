import { lstat, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { run } from "../host/run.ts";
import { writeCpio, type CpioEntry } from "./cpio.ts";

const epoch = 1_700_000_000;

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-cpio-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function unpack(archive: Uint8Array, into: string): Promise<void> {
  await mkdir(into, { recursive: true });
  await run("cpio", ["--quiet", "-idm", "--no-absolute-filenames"], { cwd: into, input: archive });
}

async function list(archive: Uint8Array): Promise<string[]> {
  return (await run("cpio", ["--quiet", "-itv", "--numeric-uid-gid"], { input: archive })).stdout.trim().split("\n");
}

const segment = fc.stringMatching(/^[a-z][a-z0-9._-]{0,12}$/);
const entries = fc.uniqueArray(
  fc.record({
    // A leaf's name ends in what no directory's name has: no path is both.
    path: fc
      .tuple(fc.array(segment, { maxLength: 3 }), segment)
      .map(([above, leaf]) => [...above, `${leaf}#`].join("/")),
    mode: fc.constantFrom(0o644, 0o755, 0o600, 0o444, 0o4755),
    content: fc.uint8Array({ maxLength: 70 }),
  }),
  { selector: (entry) => entry.path, maxLength: 8 },
);

test("cpio unpacks what was packed: names, bytes, modes, times", async () => {
  let round = 0;
  await fc.assert(
    fc.asyncProperty(entries, async (files) => {
      const into = join(directory, String(round++));
      await unpack(writeCpio(files, epoch, { directories: true }), into);
      for (const { path, mode, content } of files) {
        const info = await lstat(join(into, path));
        expect(info.mode & 0o7777).toBe(mode);
        expect(info.mtimeMs).toBe(epoch * 1000);
        expect([...(await readFile(join(into, path)))]).toEqual([...content]);
      }
    }),
    { numRuns: 25 },
  );
});

test("the same files in another order are the same bytes, and every member starts at a multiple of 4", () => {
  const shuffled = entries.chain((files) =>
    fc.tuple(fc.constant(files), fc.shuffledSubarray(files, { minLength: files.length })),
  );
  fc.assert(
    fc.property(shuffled, ([files, other]) => {
      const archive = writeCpio(files, epoch, { directories: true });
      expect(writeCpio(other, epoch, { directories: true }).equals(archive)).toBe(true);
      // Walk as the kernel does, see init/initramfs.c: header, name and content each padded to 4 bytes.
      let at = 0;
      for (let name = ""; name !== "TRAILER!!!";) {
        expect(at % 4).toBe(0);
        expect(archive.toString("latin1", at, at + 6)).toBe("070701");
        const size = Number.parseInt(archive.toString("latin1", at + 54, at + 62), 16);
        const nameSize = Number.parseInt(archive.toString("latin1", at + 94, at + 102), 16);
        name = archive.toString("latin1", at + 110, at + 110 + nameSize - 1);
        at = Math.ceil((at + 110 + nameSize) / 4) * 4;
        at = Math.ceil((at + size) / 4) * 4;
      }
      expect(at).toBe(archive.length);
    }),
  );
});

const two: CpioEntry[] = [
  { path: "kubedos/layer/nodes", mode: 0o644, content: Buffer.from("a") },
  { path: "kubedos/layer/cluster.json", mode: 0o600, content: Buffer.from("{}") },
];

test("with directories, those above come first and once; owner is root", async () => {
  const lines = await list(writeCpio(two, epoch, { directories: true }));
  expect(lines.map((line) => line.split(/\s+/)).map((cells) => [cells[0], cells[2], cells[3], cells.at(-1)])).toEqual([
    ["drwxr-xr-x", "0", "0", "kubedos"],
    ["drwxr-xr-x", "0", "0", "kubedos/layer"],
    ["-rw-------", "0", "0", "kubedos/layer/cluster.json"],
    ["-rw-r--r--", "0", "0", "kubedos/layer/nodes"],
  ]);
});

test("without directories there are files only: a tree's own directories stay as they are", async () => {
  expect((await list(writeCpio(two, epoch, { directories: false }))).every((line) => line.startsWith("-"))).toBe(true);
});

test("no file at all is an archive too", async () => {
  expect(await list(writeCpio([], epoch, { directories: true }))).toEqual([""]);
});

import { readFile, stat, writeFile } from "node:fs/promises";
import { expect, test, vi } from "vitest";
import { endDaemon, startDaemon } from "../../src/host/daemon.ts";
import { at, blank, disk, eachInScratch, head, image, mib, writer, writes } from "./writer.ts";

// Which disk the writer takes, what it writes, and what it does when the disk fails.
eachInScratch();

const choose = (policy?: Record<string, string>) => writer('choose_disk; echo "chosen $target"', policy);

test("one blank disk fits; a medium, a seed, a stick, an optical drive and one that is too small do not", async () => {
  await disk("vda", { mib: 2 });
  await disk("vdb");
  await disk("vdc", { holds: { 0: "KUBEDOS-SEED 1 4096\n" } });
  await disk("sda", { removable: true });
  await disk("sr0");
  await disk("sdb");
  const { said } = await writer('medium_disk=sdb; choose_disk; echo "chosen $target"');
  expect(said).toContain("chosen /dev/vdb\n");
  expect(said).toContain("disk /dev/vda, 2 MiB, serial vda: is too small: the image needs 4 MiB\n");
  expect(said).toContain("disk /dev/vdc, 8 MiB, serial vdc: is a seed\n");
  expect(said).toContain("disk /dev/sda, 8 MiB, serial sda: is removable\n");
  expect(said).toContain("disk /dev/sdb, 8 MiB, serial sdb: is the medium\n");
  expect(said).not.toContain("sr0");
});

test("no disk at all: stopped", async () => {
  expect(await choose()).toEqual({ said: expect.stringContaining("installation stopped: no disk fits"), ended: false });
});

test("two that fit: stopped, both named", async () => {
  await disk("vda");
  await disk("vdb");
  expect((await choose()).said).toContain("installation stopped: more than one disk fits: vda vdb;");
});

test.each([
  ["at its start", 0],
  ["behind its start", 700_000],
  ["at its end", -512],
])("data %s: not taken, and not changed; taken with a rule and leave to wipe", async (_where, offset) => {
  await disk("vda", { holds: { [offset]: "EFI PART" } });
  const before = await readFile(at("dev/vda"));
  const { said } = await choose();
  expect(said).toContain("holds data, and the spec does not say that it may be wiped");
  expect(said).toContain("no disk fits");
  expect((await readFile(at("dev/vda"))).equals(before)).toBe(true);
  expect((await choose({ wipe: "yes", want_serial: "vda" })).said).toContain("chosen /dev/vda");
});

test("all rules must hold; a removable disk is taken only by its name", async () => {
  await disk("vda", { mib: 1024 });
  await disk("vdb", { mib: 2048, serial: "S1" });
  await disk("sda", { mib: 4096, removable: true, serial: "S2" });
  expect((await choose({ min_gib: "2" })).said).toContain("chosen /dev/vdb");
  expect((await choose({ max_gib: "1" })).said).toContain("chosen /dev/vda");
  expect((await choose({ want_serial: "S2" })).said).toContain("chosen /dev/sda");
  expect((await choose({ want_path: "/dev/vdb" })).said).toContain("chosen /dev/vdb");
  expect((await choose({ want_path: "/dev/vdb", want_serial: "S2" })).said).toContain("no disk fits");
});

test("what is written is the image, and nothing but the image", async () => {
  await disk("vda");
  await writeFile(at("image"), image);
  const { said } = await writes(`zstd -qc '${at("image")}'`);
  expect(said).toContain("verified: sha256 of what the disk gives back is as manufactured\ncomplete");
  const after = await readFile(at("dev/vda"));
  expect(after.subarray(0, image.length).equals(image)).toBe(true);
  expect(after.subarray(image.length).every((byte) => byte === 0)).toBe(true);
});

test.each([
  ["nothing comes", "false", "the medium cannot be read to its end"],
  ["it ends in the midst", "zstd -qc '$IMAGE' | head -c 80", "the medium cannot be read to its end"],
  ["another image comes", "zstd -qc '$OTHER'", "does not give back what was written"],
])("%s: stopped, and the disk is not one that starts", async (_what, source, message) => {
  await disk("vda", { holds: { 0: "EFI PART" } });
  const other = Buffer.from(image);
  other[3 * mib] = 0;
  await writeFile(at("image"), image);
  await writeFile(at("other"), other);
  const { said, ended } = await writes(source.replace("$IMAGE", at("image")).replace("$OTHER", at("other")));
  expect(said).toContain(`installation stopped: ${message}`.replace(": does", ": /dev/vda does"));
  expect(ended).toBe(false);
  expect((await head()).equals(blank)).toBe(true);
});

test("a disk that takes no more bytes: stopped with the reason", async () => {
  await writeFile(at("image"), image);
  const { said } = await writer(
    `target=/dev/full; chosen=''; unpacked() { cat '${at("image")}'; }; write_image; echo complete`,
  );
  expect(said).toContain(
    "installation stopped: /dev/full cannot be written: dd: error writing '/dev/full': No space left",
  );
  expect(said).not.toContain("complete");
});

/** The disk vda as a file whose block at 2 MiB fails (blkdebug of QEMU, exported over FUSE), as a bad disk's does. */
async function withBadBlock<T>(fails: "write" | "read", work: () => Promise<T>): Promise<T> {
  await writeFile(at("disk"), Buffer.alloc(8 * mib));
  await writeFile(at("dev/vda"), "");
  await writeFile(
    at("rules"),
    `[inject-error]\nevent = "none"\niotype = "${fails}"\nerrno = "5"\nsector = "${(2 * mib) / 512}"\n`,
  );
  const daemon = await startDaemon(
    "qemu-storage-daemon",
    [
      ...["--blockdev", `driver=file,node-name=file,filename=${at("disk")}`],
      ...["--blockdev", `driver=blkdebug,node-name=bad,image=file,config=${at("rules")}`],
      ...["--export", `type=fuse,id=export,node-name=bad,mountpoint=${at("dev/vda")},writable=on`],
    ],
    { log: at("log") },
  );
  try {
    await vi.waitUntil(async () => (await stat(at("dev/vda"))).size === 8 * mib, { timeout: 20_000 });
    return await work();
  } finally {
    await endDaemon(daemon, 5_000);
  }
}

test.each([
  ["write", "/dev/vda cannot be written: dd: "],
  ["read", "/dev/vda cannot be read: dd: "],
] as const)(
  "a disk with a bad block, found by a %s: stopped, and it is not one that starts",
  async (fails, message) => {
    await writeFile(at("image"), image);
    const said = await withBadBlock(fails, async () => {
      // As drop_caches does it, of this one file.
      const forget = "forget_cached() { dd of=$target count=0 oflag=nocache conv=notrunc,fdatasync 2>/dev/null; }";
      return (await writes(`zstd -qc '${at("image")}'`, forget)).said;
    });
    expect(said).toContain(`installation stopped: ${message}`);
    expect(said).not.toContain("complete");
    expect((await readFile(at("disk"))).subarray(0, mib).equals(blank)).toBe(true);
  },
);

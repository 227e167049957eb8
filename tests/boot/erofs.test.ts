import { chmod, link, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { locateFoundry } from "../../src/assemble/foundry.ts";
import { run } from "../../src/host/run.ts";
import { runInSandbox } from "../../src/host/sandbox.ts";
import { openErofs } from "../../src/seal/erofs.ts";
import { buildLab, makeScratch, type BuiltLab, type Scratch } from "./support.ts";

// Our reader against mkfs.erofs and fsck.erofs of the foundry root.
let scratch: Scratch;
let lab: BuiltLab;
beforeAll(async () => {
  scratch = await makeScratch();
  lab = await buildLab(scratch, "erofs");
});
afterAll(() => scratch?.remove());

function inFoundry(script: string, inputs: Record<string, string>, to: string) {
  const { lock, store } = lab.project;
  const root = locateFoundry(lock, store).directory;
  const out = join(scratch.directory, to);
  return runInSandbox({ root, command: ["sh", "-euc", script], inputs, out, epoch: lock.epoch });
}

/** `path type mode owner size-or-target hash` of every entry below a directory, as find and sha256sum see it. */
async function listDirectory(directory: string): Promise<string[]> {
  const { stdout } = await run("find", [directory, "-mindepth", "1", "-printf", "%P\\t%y\\t%m\\t%U:%G\\t%s\\t%l\\n"]);
  const lines = stdout.split("\n").filter((line) => line !== "");
  return Promise.all(
    lines.map(async (line) => {
      const [path, type, mode, owner, size, target] = line.split("\t");
      const sum = type === "f" ? sha256(await readFile(join(directory, path!))) : "";
      return [`/${path}`, type, mode!.padStart(4, "0"), owner, type === "f" ? size : "", target, sum].join(" ");
    }),
  ).then((all) => all.toSorted());
}

function listImage(image: Buffer): string[] {
  const erofs = openErofs(image);
  const letters = { file: "f", directory: "d", link: "l", device: "c", other: "?" } as const;
  return erofs
    .entries()
    .map((entry) => {
      const { path, type, mode, uid, gid, sizeBytes } = entry;
      const target = type === "link" ? erofs.read(entry).toString() : "";
      const sum = type === "file" ? sha256(erofs.read(entry)) : "";
      const size = type === "file" ? sizeBytes : "";
      return [path, letters[type], mode.toString(8).padStart(4, "0"), `${uid}:${gid}`, size, target, sum].join(" ");
    })
    .toSorted();
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}

test("the sealed root: every entry and every byte as fsck.erofs extracts them", async () => {
  await inFoundry(
    "fsck.erofs --extract=/out/tree --preserve /in/root >/dev/null",
    { root: lab.built.root.path },
    "root",
  );
  expect(listImage(await readFile(lab.built.root.path))).toEqual(
    await listDirectory(join(scratch.directory, "root/tree")),
  );
}, 120_000);

test("files of every size and kind: empty, at block edges, noise, text, holes, long names, links, many in a directory", async () => {
  const tree = join(scratch.directory, "tree");
  await mkdir(join(tree, "many", "deep", "er"), { recursive: true });
  // Deterministic noise that does not compress, and text that does.
  const noise = (length: number, seed: number) => {
    const parts: Buffer[] = [];
    for (let at = 0; at < length; at += 32) parts.push(createHash("sha256").update(`${seed} ${at}`).digest());
    return Buffer.concat(parts).subarray(0, length);
  };
  const sizes = [0, 1, 4095, 4096, 4097, 8192, 65_535, 65_536, 65_537, 200_000, 1_048_576, 3_000_001];
  for (const [index, size] of sizes.entries()) {
    await writeFile(join(tree, `noise-${size}`), noise(size, index));
    await writeFile(
      join(tree, `text-${size}`),
      "the same words again and again, ".repeat(size / 32 + 1).slice(0, size),
    );
    const mixed = Buffer.concat([noise(size >> 1, index), Buffer.alloc(size - (size >> 1), index)]);
    await writeFile(join(tree, `mixed-${size}`), mixed);
  }
  for (let index = 0; index < 700; index++)
    await writeFile(join(tree, "many", `${index}-${"n".repeat(index % 200)}`), `${index}`);
  await symlink("../x".repeat(300), join(tree, "long-link"));
  await link(join(tree, "text-4097"), join(tree, "many", "deep", "er", "same"));
  await chmod(join(tree, "text-1"), 0o4711);
  for (const options of ["-zlz4hc,level=9 -C65536", "-zlz4 -C4096", "-zlz4hc -C1048576 -Elegacy-compress", ""]) {
    await rm(join(scratch.directory, "made"), { recursive: true, force: true });
    await inFoundry(`mkfs.erofs --quiet ${options} --all-root /out/image /in/tree >/dev/null`, { tree }, "made");
    const expected = (await listDirectory(tree)).map((line) => line.replace(/ \d+:\d+ /, " 0:0 "));
    expect(listImage(await readFile(join(scratch.directory, "made/image"))), options).toEqual(expected);
  }
}, 120_000);

test("a damaged or foreign image is an error, never a crash or an endless loop", async () => {
  expect(() => openErofs(Buffer.alloc(5000))).toThrow("not an erofs image");
  const image = await readFile(join(scratch.directory, "made/image"));
  for (let round = 0; round < 60; round++) {
    const damaged = Buffer.from(image);
    const at = 1024 + ((round * 7919) % 30_000);
    damaged[at] = damaged[at]! ^ (1 << (round % 8));
    try {
      listImage(damaged);
    } catch (error) {
      if (!(error instanceof Error) || error.stack?.includes("RangeError: Maximum call stack") === true) throw error;
    }
  }
});

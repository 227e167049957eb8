import { createHash } from "node:crypto";
import { chmod, mkdir, mkdtemp, open, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import { run } from "../../src/host/run.ts";

// Parts of node/writer/ run here by the shell that the medium has, with files as disks and a directory as /sys. What the
// kernel and the firmware do is for tests/boot/installation.test.ts.
export const mib = 1024 * 1024;
/** Below a test's own limit: what waits for an answer that nobody types ends before the test does. */
const timeoutMs = 40_000;
const parts = join(import.meta.dirname, "../../node/writer");
let scratch: string;

/** Gives each test of the file a directory of its own. */
export function eachInScratch(): void {
  beforeEach(async () => {
    scratch = await mkdtemp(join(tmpdir(), "kd-writer-"));
    for (const name of ["sys/block", "dev", "run", "here"]) await mkdir(at(name), { recursive: true });
  });
  afterEach(() => rm(scratch, { recursive: true, force: true }));
}

/** A path in the test's directory. */
export function at(...names: string[]): string {
  return join(scratch, ...names);
}

interface Disk {
  mib?: number;
  removable?: boolean;
  serial?: string;
  /** Bytes at offsets; negative: from the end. */
  holds?: Record<number, string>;
}

/** A disk that the writer sees. */
export async function disk(
  name: string,
  { mib: size = 8, removable = false, serial, holds = {} }: Disk = {},
): Promise<void> {
  const about = { size: String((size * mib) / 512), ro: "0", removable: removable ? "1" : "0", serial: serial ?? name };
  for (const [file, text] of Object.entries(about)) {
    const path = at("sys/block", name, file);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, `${text}\n`);
  }
  const device = at("dev", name);
  await writeFile(device, "");
  await truncate(device, size * mib);
  const handle = await open(device, "r+");
  for (const [at, text] of Object.entries(holds))
    await handle.write(text, Number(at) + (Number(at) < 0 ? size * mib : 0));
  await handle.close();
}

/** What the medium holds. */
export const image = Buffer.concat([Buffer.from("first".padEnd(mib, "x")), Buffer.alloc(3 * mib, "rest")]);
export const sha256 = createHash("sha256").update(image).digest("hex");

/** What the writer says, and whether it went on to the end. `typed`: lines that someone types on its only console. */
export async function writer(
  words: string,
  policy: Record<string, string> = {},
  more: string[] = [],
  typed?: readonly string[],
): Promise<{ said: string; ended: boolean }> {
  const settings = { want_serial: "", want_path: "", min_gib: "", max_gib: "", wipe: "no", ...policy };
  const script = [
    "set -o pipefail",
    'say() { echo "$*"; }',
    "show() { :; }",
    "forget_cached() { :; }",
    'fail() { echo "installation stopped: $*"; exit 1; }',
    `sys='${at("sys")}' dev='${at("dev")}' run='${at("run")}' here='${at("here")}' consoles='' mib=${mib}`,
    `size=${image.length} sha256=${sha256} seed_at=${2 * mib} whence='the medium' instead='(removed?)'`,
    "want_server=''",
    ...Object.entries(settings).map(([key, value]) => `${key}='${value}'`),
    ...["disk", "tpm", "seeds", "write", ...more].map((part) => `. '${parts}/${part}'`),
    words,
  ];
  const file = at("script");
  await writeFile(file, script.join("\n"));
  await chmod(file, 0o755);
  const { stdout, status } =
    typed === undefined
      ? await run("busybox", ["sh", file], { okStatuses: [0, 1], timeoutMs })
      : await run("script", ["-qec", `busybox sh ${file}`, "/dev/null"], {
          input: typed.map((line) => `${line}\n`).join(""),
          okStatuses: [0, 1],
          timeoutMs,
        });
  return { said: stdout.replaceAll(`${at("dev")}/`, "/dev/"), ended: status === 0 };
}

/** Writes what `source` (shell) gives to the disk vda, after `more`. */
export function writes(source: string, more = ""): ReturnType<typeof writer> {
  return writer(
    `target=$dev/vda; chosen=''; ${more}\nunpacked() { ${source} | zstd -dcq; }; write_image; echo complete`,
  );
}

/** The first MiB of the disk vda. */
export async function head(): Promise<Buffer> {
  return (await readFile(at("dev/vda"))).subarray(0, mib);
}

/** What a disk that does not start begins with. */
export const blank = Buffer.alloc(mib);

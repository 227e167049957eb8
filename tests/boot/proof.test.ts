import { constants } from "node:fs";
import {
  appendFile,
  chmod,
  copyFile,
  cp,
  mkdir,
  readFile,
  readdir,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createDirectory } from "../../src/capsule/create.ts";
import { planCapsule, type PlannedFile } from "../../src/capsule/layout.ts";
import { verifyCapsule } from "../../src/capsule/verify.ts";
import { verifyCapsuleWhole } from "../../src/capsule/verify-whole.ts";
import { locateFoundry } from "../../src/assemble/foundry.ts";
import { run } from "../../src/host/run.ts";
import { runInSandbox } from "../../src/host/sandbox.ts";
import { build } from "../../src/lifecycle/build.ts";
import { openProject } from "../../src/lifecycle/project.ts";
import { compareOutputs, type FileDifference } from "../../src/seal/compare.ts";
import { initrdUnpacker } from "../../src/seal/verify-tools.ts";
import { signifySign } from "../../src/vault/signify.ts";
import { jsonLines, kubedos, start } from "../cli/kubedos.ts";
import { firstBlockOf, flip, partitionOffset } from "./image.ts";
import { buildLab, labSpec, makeScratch, type BuiltLab, type Scratch } from "./support.ts";

// The same bytes twice, from a capsule, years later; and whatever is not the same is named.
let scratch: Scratch;
let lab: BuiltLab;
let spec: string;
let out: string;
let key: string;
beforeAll(async () => {
  scratch = await makeScratch();
  lab = await buildLab(scratch, "proof");
  spec = lab.project.paths.spec;
  out = lab.project.paths.out;
  key = join(scratch.directory, "trusted.pub");
  await copyFile(join(out, "foundry.pub"), key);
});
afterAll(() => scratch?.remove());

/** The last line of a `--json` run. */
async function result(args: readonly string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = await kubedos([...args, "--json"], { env: { ...scratch.env, ...env } });
  const last = stdout.trim() === "" ? {} : jsonLines(stdout).at(-1)!;
  return { status, stderr, ...last } as Record<string, unknown> & { status: number };
}

async function copyOf(name: string): Promise<string> {
  const copy = join(scratch.directory, name);
  await rm(copy, { recursive: true, force: true });
  await cp(out, copy, { recursive: true, mode: constants.COPYFILE_FICLONE });
  for (const file of await readdir(copy)) await chmod(join(copy, file), 0o644);
  return copy;
}

async function compare(a: string, b: string): Promise<FileDifference[]> {
  const own = join(scratch.directory, "compare");
  await mkdir(own, { recursive: true });
  const { signal } = scratch.context;
  const { lock, store } = lab.project;
  const unpackInitrd = initrdUnpacker(locateFoundry(lock, store).directory, own, lock.epoch, signal);
  return compareOutputs(a, b, { scratch: own, unpackInitrd, signal });
}

function structures(differences: readonly FileDifference[]): string[] {
  return differences.flatMap(({ file, findings }) => findings.map(({ structure }) => `${file}: ${structure}`));
}

describe("build --check", () => {
  test("the clock and the work directory of the second build are really others", async () => {
    const { lock, store } = lab.project;
    const { directory: root } = locateFoundry(lock, store);
    const out = join(scratch.directory, "circumstances");
    const command = [
      "sh",
      "-c",
      "date +%Y; touch /tmp/now; stat -c %y /tmp/now | cut -c 1-4; findmnt -no TARGET /work",
    ] as const;
    const ask = async () => (await runInSandbox({ root, command, inputs: {}, out, epoch: 1 })).stdout.split("\n");
    const [year] = await ask();
    Object.assign(process.env, { KUBEDOS_CLOCK: "+347121483", KUBEDOS_WORK: out });
    try {
      const later = String(Number(year) + 11);
      expect((await ask()).slice(0, 3)).toEqual([later, later, "/work"]);
    } finally {
      delete process.env["KUBEDOS_CLOCK"];
      delete process.env["KUBEDOS_WORK"];
    }
    expect(await readdir(out)).toEqual([]);
  });

  test("twice from nothing, in other circumstances: the same bytes, and those that were published before", async () => {
    const checked = await result(["build", spec, "--check", "--offline"]);
    expect(checked).toMatchObject({ status: 0, same: true, differences: [], stages: [], published: "same" });
    const varied = checked["varied"] as { what: string; first: string; second: string }[];
    expect(varied.map(({ what }) => what)).toEqual([
      "directory",
      "working directory",
      "cache",
      "home",
      "rights",
      "host name",
      "clock",
      "time zone",
      "locale",
      "umask",
      "processors",
      "stages",
      "directory order",
      "environment",
    ]);
    expect(varied.filter(({ first, second }) => first === second || second.includes("NOT VARIED"))).toEqual([]);
    expect(await readdir(join(lab.project.store.directory, "scratch"))).toEqual([]);
  });
});

describe("what differs is named", () => {
  test("by the file of the root, the parts of the boot image, and what follows from them", async () => {
    const other = join(scratch.directory, "other");
    await mkdir(other);
    const platform = 'platform:\n  files:\n    - { path: /etc/motd, content: "another" }\n';
    await writeFile(join(other, "lab.yaml"), `${labSpec("lab")}${platform}`);
    for (const kind of ["lock", "vault"]) {
      await copyFile(join(scratch.directory, "proof", `lab.${kind}`), join(other, `lab.${kind}`));
    }
    const project = await openProject(join(other, "lab.yaml"), { vault: {}, create: false }, scratch.context);
    await build(project.build, project.paths, project.store, scratch.context);
    const found = structures(await compare(out, project.paths.out));
    expect(found.filter((one) => one.startsWith("lab.raw: "))).toEqual([
      "lab.raw: root, /etc/motd",
      "lab.raw: boot image, .cmdline",
      "lab.raw: hash tree",
      "lab.raw: partition table (primary)",
      "lab.raw: partition table (backup)",
    ]);
    expect(found).toContainEqual(expect.stringMatching(/^manifest\.json: line \d+$/));
  });

  test("one byte, by the structure that it is in", async () => {
    const copy = await copyOf("flipped");
    const image = join(copy, "lab.raw");
    const root = await partitionOffset(image, "kubedos-root");
    const places: [number, string][] = [
      [600, "partition table (primary)"],
      [root + (await firstBlockOf(scratch, lab, "/usr/bin/dash")) + 5, "root, /usr/bin/dash"],
      [root + 1030, "root, metadata of the file system"],
      [(await partitionOffset(image, "kubedos-hash")) + 4096, "hash tree"],
      [(await partitionOffset(image, "kubedos-esp")) + 90, "boot partition, file system"],
      [(await stat(image)).size - 600, "partition table (backup)"],
    ];
    for (const [offset, structure] of places) {
      await flip(image, offset);
      const differences = await compare(out, copy);
      expect(structures(differences)).toEqual([`lab.raw: ${structure}`]);
      await flip(image, offset);
    }
    await appendFile(join(copy, "secureboot-db.pem"), "\n");
    await rm(join(copy, "foundry.pem"));
    await writeFile(join(copy, "added"), "");
    expect(structures(await compare(out, copy))).toEqual([
      "added: file",
      "foundry.pem: file",
      "secureboot-db.pem: end",
    ]);
  });

  test("verify --rebuild, without the vault: an altered file of the image is named, all else is rebuilt the same", async () => {
    const copy = await copyOf("tampered");
    const image = join(copy, "lab.raw");
    const offset = (await partitionOffset(image, "kubedos-root")) + (await firstBlockOf(scratch, lab, "/usr/bin/dash"));
    await flip(image, offset + 9);
    const vault = lab.project.paths.vault;
    await rename(vault, `${vault}.away`);
    try {
      const verified = await result(["verify", copy, "--key", key, "--rebuild", "--spec", spec, "--offline"]);
      const checks = verified["checks"] as { check: string; file: string; findings: { structure: string }[] }[];
      expect(verified.status).toBe(1);
      expect(checks.filter(({ check }) => check === "rebuild")).toMatchObject([
        { file: "lab.raw", findings: [{ structure: "root, /usr/bin/dash", offsetBytes: offset + 9 }] },
      ]);
    } finally {
      await rename(`${vault}.away`, vault);
    }
  });
});

describe("verify of a URL", () => {
  let server: Server;
  let address: string;
  const served: string[] = [];
  beforeAll(async () => {
    server = createServer((request, response) => {
      const path = join(out, "..", request.url ?? "");
      served.push(request.url ?? "");
      createReadStream(path)
        .on("error", () => response.writeHead(404).end())
        .pipe(response);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    address = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  });
  afterAll(() => server?.close());

  test("a directory and an artifact in it are fetched and checked as if they were here", async () => {
    for (const path of ["/lab", "/lab/lab.raw"]) {
      expect(await result(["verify", `${address}${path}`, "--key", key])).toMatchObject({ status: 0, verdict: "ok" });
    }
    expect(served).toContain("/lab/lab.raw");
  });

  test("no manifest there: said so", async () => {
    expect(await result(["verify", `${address}/elsewhere/`, "--key", key])).toMatchObject({
      status: 2,
      error: { message: expect.stringContaining("manifest.json") },
    });
  });
});

describe("capsule", () => {
  let capsule: string;
  let files: PlannedFile[];
  beforeAll(async () => {
    capsule = join(scratch.directory, "capsule");
    const created = await result(["capsule", "create", spec, "-o", capsule, "--offline"]);
    if (created.status !== 0) throw new Error(JSON.stringify(created));
    const { lock, paths, store, vault } = lab.project;
    const sign = async (message: Uint8Array) => signifySign(vault.signing, message);
    files = await planCapsule({ cluster: "lab", lock, paths, store, withVault: false, sign, content: [] });
  });

  async function check() {
    const options = { key, anyKey: false, withoutAuthenticode: true, signal: scratch.context.signal };
    return verifyCapsuleWhole(capsule, options);
  }
  /** Files with findings of the capsule's own list. */
  async function damaged(): Promise<string[]> {
    const checks = await verifyCapsule(capsule, { key, anyKey: false, signal: scratch.context.signal });
    return checks
      .filter(({ check: name, status }) => ["hash", "listed"].includes(name) && status === "failed")
      .map(({ file }) => file);
  }
  async function shellCheck() {
    const options = { okStatuses: [0, 1, 2], env: { PATH: "/usr/bin:/bin", LC_ALL: "C" } };
    return run("sh", [join(capsule, "VERIFY.sh")], options);
  }

  test("is whole, holds no secret, and is below 700 MB", async () => {
    const checks = await check();
    expect(checks.filter(({ status }) => !["ok", "skipped"].includes(status))).toEqual([]);
    expect(await shellCheck()).toMatchObject({ status: 0 });
    const { stdout } = await run("du", ["--summarize", "--bytes", capsule]);
    expect(Number(stdout.split("\t")[0])).toBeLessThan(700e6);
    expect(files.map(({ path }) => path)).not.toContain("spec/lab.vault");
    await run("signify-openbsd", [
      "-V",
      "-q",
      "-p",
      key,
      "-m",
      join(capsule, "SHA256SUMS"),
      "-x",
      join(capsule, "SHA256SUMS.sig"),
    ]);
  });

  test("made again: the same bytes, times and modes, also when it was interrupted by kill -9", async () => {
    const again = join(scratch.directory, "again");
    const launcher = join(import.meta.dirname, "../../kubedos");
    const first = start(launcher, ["capsule", "create", spec, "-o", again, "--offline"], { env: scratch.env });
    while (!(await readdir(`${again}.partial`).catch((): string[] => [])).includes("store")) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    first.kill("SIGKILL");
    await first.ended;
    expect(await stat(again).catch(() => undefined)).toBeUndefined();
    await writeFile(join(`${again}.partial`, "stray"), "");
    const resumed = await result(["capsule", "create", spec, "-o", again, "--offline"]);
    expect(resumed).toMatchObject({ status: 0 });
    expect(resumed["resumed"]).toBeGreaterThan(3);
    await run("diff", ["--recursive", "--brief", capsule, again]);
    const listing = async (directory: string) =>
      (await run("find", [directory, "-printf", "%P %m %T@\\n"])).stdout.split("\n").toSorted();
    expect(await listing(again)).toEqual(await listing(capsule));
    expect(await result(["capsule", "diff", capsule, again])).toMatchObject({ status: 0, same: true });
    await rm(again, { recursive: true });
  });

  test("Ctrl-C: 130, nothing under the final name", async () => {
    const stopped = join(scratch.directory, "stopped");
    const launcher = join(import.meta.dirname, "../../kubedos");
    const first = start(launcher, ["capsule", "create", spec, "-o", stopped, "--offline", "--json"], {
      env: scratch.env,
    });
    while (!(await readdir(`${stopped}.partial`).catch((): string[] => [])).includes("store")) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    first.kill("SIGINT");
    expect((await first.ended).status).toBe(130);
    expect(await stat(stopped).catch(() => undefined)).toBeUndefined();
    await rm(`${stopped}.partial`, { recursive: true });
  });

  test("one byte of each kind of file: it is named, by kubedos and by VERIFY.sh", async () => {
    const kinds = [
      /^README\.md$/,
      /^VERIFY\.sh$/,
      /^kubedos\.sh$/,
      /^boot\/busybox$/,
      /^boot\/packages$/,
      /^tool\//,
      /^spec\/lab\.yaml$/,
      /^spec\/lab\.lock$/,
      /^store\//,
      /^artifacts\/lab\.raw$/,
      /^artifacts\/manifest\.json$/,
      /^artifacts\/sbom/,
      /^capsule\.json$/,
    ];
    const chosen = kinds.map((kind) => files.find(({ path }) => kind.test(path))!.path);
    // In VERIFY.sh in a comment, so that it still runs.
    const offsetOf = async (file: string) =>
      file === "VERIFY.sh" ? 20 : Math.floor((await stat(join(capsule, file))).size / 2);
    for (const file of chosen) await flip(join(capsule, file), await offsetOf(file));
    expect((await damaged()).toSorted()).toEqual(chosen.toSorted());
    const shell = await shellCheck();
    expect(shell.status).toBe(1);
    for (const file of chosen) expect(shell.stdout).toContain(`${file}: FAILED`);
    for (const file of chosen) await flip(join(capsule, file), await offsetOf(file));
    for (const [file, structure] of [
      ["SHA256SUMS", "SHA256SUMS"],
      ["SHA256SUMS.sig", expect.any(String)],
    ] as const) {
      await flip(join(capsule, file), 60);
      const checks = await verifyCapsule(capsule, { key, anyKey: false, signal: scratch.context.signal });
      expect(checks.find(({ check: name }) => name === "signature")).toMatchObject({
        status: "failed",
        findings: [{ structure }],
      });
      await flip(join(capsule, file), 60);
    }
    expect(await damaged()).toEqual([]);
  });

  test("added, removed, cut and swapped files: all of them are named", async () => {
    const [one, two, three, four] = files.filter(({ path }) => path.startsWith("store/")).map(({ path }) => path) as [
      string,
      string,
      string,
      string,
    ];
    const at = (path: string) => join(capsule, path);
    const keep = join(scratch.directory, "keep");
    await mkdir(keep);
    for (const [index, path] of [one, two, three, four].entries()) await copyFile(at(path), join(keep, String(index)));
    await writeFile(at("store/added"), "x");
    await rm(at(one));
    await truncate(at(two), 100);
    await copyFile(at(three), join(keep, "swap"));
    await copyFile(at(four), at(three));
    await copyFile(join(keep, "swap"), at(four));
    expect((await damaged()).toSorted()).toEqual([one, two, three, four, "store/added"].toSorted());
    const { stdout, stderr } = await shellCheck();
    for (const path of [one, two, three, four, "store/added"]) expect(stdout + stderr).toContain(path);
    expect(await result(["capsule", "rebuild", capsule, "--out", join(scratch.directory, "no")])).toMatchObject({
      status: 1,
      error: { message: expect.stringContaining("the capsule is damaged") },
    });
    await rm(at("store/added"));
    for (const [index, path] of [one, two, three, four].entries()) await copyFile(join(keep, String(index)), at(path));
    expect(await damaged()).toEqual([]);
  });

  test("another key, and a newer format", async () => {
    const foreign = join(scratch.directory, "foreign.pub");
    await run("signify-openbsd", ["-G", "-n", "-p", foreign, "-s", join(scratch.directory, "foreign.sec")]);
    expect(await result(["capsule", "verify", capsule, "--key", foreign, "--without-authenticode"])).toMatchObject({
      status: 1,
    });
    const index = join(capsule, "capsule.json");
    const text = await readFile(index, "utf8");
    await writeFile(index, text.replace('"format": 1', '"format": 2'));
    expect(await result(["capsule", "verify", capsule, "--key", key])).toMatchObject({
      status: 1,
      error: { message: expect.stringContaining("capsule format 2"), hint: expect.stringContaining("kubedos.sh") },
    });
    await writeFile(index, text);
  });

  test("a medium that is too small, or becomes full: said so, nothing under the final name", async () => {
    const medium = join(scratch.directory, "medium");
    await mkdir(medium);
    await run("mount", ["-t", "tmpfs", "-o", "size=64m", "medium", medium]);
    try {
      const small = await result(["capsule", "create", spec, "-o", join(medium, "lab"), "--offline"]);
      expect(small).toMatchObject({
        status: 1,
        error: { message: expect.stringMatching(/\d+ MB to write, \d+ MB free/) },
      });
      // Sizes that are not true stand for another process that fills the medium meanwhile.
      const planned = files
        .filter(({ path }) => path === "artifacts/lab.raw")
        .map((file) => ({ ...file, sizeBytes: 1, from: Buffer.alloc(100e6) }));
      await expect(createDirectory(planned, join(medium, "full"), 1, scratch.context)).rejects.toThrow(
        "the medium is full",
      );
      expect((await readdir(medium)).filter((name) => !name.endsWith(".partial"))).toEqual([]);
    } finally {
      await run("umount", [medium]);
    }
  });

  test("an ISO: the same bytes twice; whole; volumes join to the same capsule", async () => {
    const [one, two] = [join(scratch.directory, "one.iso"), join(scratch.directory, "two.iso")];
    for (const iso of [one, two]) {
      expect(await result(["capsule", "create", spec, "-o", iso, "--offline"])).toMatchObject({ status: 0 });
    }
    await run("cmp", [one, two]);
    await rm(two);
    expect(await result(["capsule", "verify", one, "--key", key, "--without-authenticode"])).toMatchObject({
      status: 0,
      verdict: "ok",
    });
    expect(await result(["capsule", "diff", one, capsule])).toMatchObject({ status: 0, same: true });
    await rm(one);
    const volumes = join(scratch.directory, "volumes");
    expect(await result(["capsule", "create", spec, "-o", volumes, "--split", "120MB", "--offline"])).toMatchObject({
      status: 0,
    });
    const names = (await readdir(volumes)).toSorted();
    expect(names.length).toBeGreaterThan(2);
    const paths = names.map((name) => join(volumes, name));
    for (const path of paths) {
      expect(Number((await run("du", ["--summarize", "--bytes", path])).stdout.split("\t")[0])).toBeLessThan(120e6);
    }
    const joined = join(scratch.directory, "joined");
    await run("sh", [join(paths[0]!, "JOIN.sh"), joined, ...paths.toReversed()]);
    await run("diff", ["--recursive", "--brief", capsule, joined]);
    await rm(volumes, { recursive: true });
    await rm(joined, { recursive: true });
  });

  test("rebuilt with nothing but itself: no network, 20 years ahead, no PATH, no cache: the same bytes", async () => {
    const work = join(scratch.directory, "work");
    const env = { KUBEDOS_CAPSULE_WORK: work, KUBEDOS_CLOCK: "+631138520", PATH: "/nowhere" };
    const outcome = await run("/usr/bin/unshare", ["--net", "/bin/sh", join(capsule, "kubedos.sh")], {
      env,
      timeoutMs: 500_000,
    });
    expect(outcome.stdout).toContain("the same bytes");
    await run("diff", ["--brief", join(work, "rebuilt/out/lab"), join(capsule, "artifacts")]);
  });
});

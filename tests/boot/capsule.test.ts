import { copyFile, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { locateFoundry } from "../../src/assemble/foundry.ts";
import { createDirectory, createIso } from "../../src/capsule/create.ts";
import { planCapsule, type PlannedFile } from "../../src/capsule/layout.ts";
import { verifyCapsule } from "../../src/capsule/verify.ts";
import { verifyCapsuleWhole } from "../../src/capsule/verify-whole.ts";
import { run } from "../../src/host/run.ts";
import { signifySign } from "../../src/vault/signify.ts";
import { jsonLines, kubedos, start } from "../cli/kubedos.ts";
import { flip } from "./image.ts";
import { buildLab, findProcesses, labSpec, makeScratch, type BuiltLab, type Scratch } from "./support.ts";

// A time capsule: made, checked, damaged, rebuilt and booted with nothing but itself.
let scratch: Scratch;
let lab: BuiltLab;
let spec: string;
let key: string;
let capsule: string;
let files: PlannedFile[];
beforeAll(async () => {
  scratch = await makeScratch();
  const oneNode = labSpec("lab").replace(/ +- \{ name: worker-1.*\n/, "");
  lab = await buildLab(scratch, "capsuled", undefined, oneNode);
  spec = lab.project.paths.spec;
  key = join(scratch.directory, "trusted.pub");
  await copyFile(join(lab.project.paths.out, "foundry.pub"), key);
  capsule = join(scratch.directory, "capsule");
  // Not --offline: no build needs what runs machines.
  const created = await result(["capsule", "create", spec, "-o", capsule]);
  if (created.status !== 0) throw new Error(JSON.stringify(created));
  const { lock, paths, store, vault } = lab.project;
  const sign = async (message: Uint8Array) => signifySign(vault.signing, message);
  files = await planCapsule({ cluster: "lab", lock, paths, store, withVault: false, sign, content: [] });
});
afterAll(() => scratch?.remove());

/** The last line of a `--json` run. */
async function result(args: readonly string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = await kubedos([...args, "--json"], { env: { ...scratch.env, ...env } });
  const last = stdout.trim() === "" ? {} : jsonLines(stdout).at(-1)!;
  return { status, stderr, ...last } as Record<string, unknown> & { status: number };
}

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

test("its inputs serve a machine whose mirrors have nothing; a damaged one is named and not taken", async () => {
  const env = { KUBEDOS_CACHE: join(scratch.directory, "empty") };
  const { platform } = lab.project.lock;
  const damagedOne = `store/sha256/${platform[0]!.sha256.slice(0, 2)}/${platform[0]!.sha256}`;
  await flip(join(capsule, damagedOne), 100);
  expect(await result(["store", "import", capsule], env)).toMatchObject({
    status: 1,
    error: { message: `the capsule is damaged: ${damagedOne} is altered` },
  });
  expect(await result(["plan", spec], env)).toMatchObject({ fetch: { packages: 1, bytes: platform[0]!.sizeBytes } });
  await flip(join(capsule, damagedOne), 100);
  expect(await result(["store", "import", capsule], env)).toMatchObject({ status: 0, imported: 1 });
  expect(await result(["plan", spec], env)).toMatchObject({ fetch: { packages: 0 } });
  await rm(env.KUBEDOS_CACHE, { recursive: true });
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

test("another key, a revoked one, and a newer format", async () => {
  const foreign = join(scratch.directory, "foreign.pub");
  await run("signify-openbsd", ["-G", "-n", "-p", foreign, "-s", join(scratch.directory, "foreign.sec")]);
  expect(await result(["capsule", "verify", capsule, "--key", foreign, "--without-authenticode"])).toMatchObject({
    status: 1,
  });
  const list = join(scratch.directory, "revoked");
  await writeFile(list, `${(await readFile(key, "utf8")).split("\n")[1]} # stolen\n`);
  const revoked = ["capsule", "verify", capsule, "--key", key, "--revoked", list, "--without-authenticode"];
  expect(await result(revoked)).toMatchObject({ status: 1 });
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
  expect(await result(["capsule", "create", spec, "-o", one, "--offline"])).toMatchObject({ status: 0 });
  // From another directory, its files written in another order.
  const { lock, store } = lab.project;
  const tools = { root: locateFoundry(lock, store).directory, epoch: lock.epoch, label: "lab" };
  const again = await createDirectory(
    files.toReversed(),
    join(scratch.directory, "again"),
    lock.epoch,
    scratch.context,
  );
  await createIso(again.path, two, tools, scratch.context);
  await rm(again.path, { recursive: true });
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

/** The capsule's own kubedos: no network, no PATH, nothing of this machine. */
async function inCapsule(args: readonly string[], env: Record<string, string> = {}) {
  const own = { KUBEDOS_CAPSULE_WORK: join(scratch.directory, "work"), PATH: "/nowhere", ...env };
  const options = { env: own, timeoutMs: 500_000, okStatuses: [0, 1, 2, 3, 4] };
  return run("/usr/bin/unshare", ["--net", "/bin/sh", join(capsule, "kubedos.sh"), ...args], options);
}

test("rebuilt with nothing but itself: no network, 20 years ahead, no PATH, no cache: the same bytes", async () => {
  const outcome = await inCapsule([], { KUBEDOS_CLOCK: "+631138520" });
  expect(outcome.stdout).toContain("the same bytes");
  await run("diff", ["--brief", join(scratch.directory, "work/rebuilt/out/lab"), join(capsule, "artifacts")]);
});

test("booted with nothing but itself: QEMU, TPM and firmware of the capsule run what it has rebuilt, and the gates pass", async () => {
  const work = join(scratch.directory, "work");
  await copyFile(lab.project.paths.vault, join(work, "rebuilt/lab.vault"));
  const identity = { KUBEDOS_IDENTITY: join(scratch.directory, "config/identity.txt") };
  try {
    const { stdout } = await inCapsule(["up", "rebuilt/lab.yaml", "--offline", "--json"], identity);
    const report = jsonLines(stdout).at(-1)! as { stages: { stage: string; cached: boolean }[] };
    expect(report).toMatchObject({ passed: true, sealed: true, nodes: [{ node: "hub" }] });
    // The very bytes that were compared before.
    expect(report.stages.filter(({ cached }) => !cached)).toEqual([]);
    const pid = (await inCapsule(["status", "--spec", "rebuilt/lab.yaml", "--json"])).stdout;
    expect(jsonLines(pid).at(-1)).toMatchObject({ nodes: [{ node: "hub" }] });
    for (const tool of ["qemu-system-x86_64", "swtpm"]) {
      const own = await stat(join(work, "runtime/usr/bin", tool));
      const running = await findProcesses(
        async (one) => (await stat(`/proc/${one}/exe`).catch(() => undefined))?.ino === own.ino,
      );
      expect(running, tool).toHaveLength(1);
    }
  } finally {
    expect(await inCapsule(["down", "rebuilt/lab.yaml"])).toMatchObject({ status: 0 });
  }
});

test("with the vault the foundry signs again: its own signatures come out; another foundry's vault is refused", async () => {
  const out = (name: string) => join(scratch.directory, name);
  const rebuild = ["capsule", "rebuild", capsule, "--out"];
  expect(await result([...rebuild, out("none"), "--with-vault"])).toMatchObject({
    status: 2,
    error: { message: "there is no vault in this capsule", hint: expect.stringContaining("--vault FILE") },
  });
  const other = join(scratch.directory, "other-foundry");
  await mkdir(other);
  await kubedos(["init", "lab"], { env: scratch.env, cwd: other });
  expect(await result([...rebuild, out("other"), "--vault", join(other, "lab.vault")])).toMatchObject({
    status: 1,
    error: { message: "this is the vault of another foundry than the one that signed" },
  });
  expect(await result([...rebuild, out("signed"), "--vault", lab.project.paths.vault])).toMatchObject({
    status: 0,
    same: true,
  });
});

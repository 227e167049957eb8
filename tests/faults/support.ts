import { createHash } from "node:crypto";
import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, readdir, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { acquire, acquireSources } from "../../src/acquire/acquire.ts";
import { cacheDirectory } from "../../src/host/paths.ts";
import { openProject } from "../../src/lifecycle/project.ts";
import type { Lock } from "../../src/lock/types.ts";
import { openStore } from "../../src/store/store.ts";
import { jsonLines, kubedos, projectRoot, start } from "../cli/kubedos.ts";

/**
 * One spec with its lock and vault, and the program frozen in a copy, so that every build of a test file is of the same
 * inputs whatever happens in the work tree meanwhile. Readable by every user.
 */
export interface Workshop {
  directory: string;
  /** Directory with lab.yaml, lab.lock and lab.vault. */
  spec: string;
  lock: Lock;
  /** Secure Boot certificates of the spec's foundry, PEM. */
  certificates: { db: string; kek: string };
  /** Command that runs the frozen program. */
  program: string[];
  env: Record<string, string>;
  /** Makes a cache that holds the lock's packages and nothing else. */
  makeCache(name: string): Promise<string>;
  /** Another directory with the same spec, lock and vault. */
  copySpec(directory: string): Promise<string>;
  /** Ends what still runs of it, and removes it. */
  remove(): Promise<void>;
}

const labSpec = `apiVersion: kubedos/v1
metadata: { name: lab }
underlay: { cidr: 10.100.0.0/24 }
nodes:
  - { name: hub, roles: [hub] }
  - { name: worker, roles: [worker] }
`;

export async function openWorkshop(): Promise<Workshop> {
  await kubedos(["--version"]); // bundles what is due
  const directory = await mkdtemp(join(tmpdir(), "kd-build-"));
  await chmod(directory, 0o755);
  // 1. The program.
  const program = join(directory, "program");
  for (const part of ["package.json", "dist", "node", "src/assemble/scripts", "src/host/sandbox.sh"]) {
    await mkdir(dirname(join(program, part)), { recursive: true });
    await cp(join(projectRoot, part), join(program, part), { recursive: true });
  }
  await copyFile(process.execPath, join(directory, "node"));
  // 2. Spec, vault, lock.
  const spec = join(directory, "spec");
  const env = { KUBEDOS_CONFIG: join(directory, "config"), KUBEDOS_RUNTIME: join(directory, "run") };
  process.env["KUBEDOS_CONFIG"] = env.KUBEDOS_CONFIG;
  await mkdir(spec);
  await writeFile(join(spec, "lab.yaml"), labSpec);
  const context = { emit: () => undefined, signal: new AbortController().signal, offline: false };
  const { lock, vault } = await openProject(join(spec, "lab.yaml"), { vault: {}, create: true }, context);
  // 3. Packages: fetched once into the common cache.
  const packages = [...lock.platform, ...lock.foundry];
  const common = await openStore(cacheDirectory());
  await acquire(packages, () => acquireSources([], context.signal), common, context);

  return {
    directory,
    spec,
    lock,
    certificates: { db: vault.secureBoot.db.certificate, kek: vault.secureBoot.kek.certificate },
    program: [join(directory, "node"), "--disable-warning=ExperimentalWarning", join(program, "dist/cli.mjs")],
    env,
    async makeCache(name) {
      const cache = join(directory, name);
      const store = await openStore(cache);
      for (const { sha256 } of packages) {
        await mkdir(dirname(store.path(sha256)), { recursive: true });
        await copyFile(common.path(sha256), store.path(sha256));
      }
      return cache;
    },
    async copySpec(target) {
      await mkdir(target, { recursive: true });
      for (const name of ["lab.yaml", "lab.lock", "lab.vault"]) await copyFile(join(spec, name), join(target, name));
      return target;
    },
    async remove() {
      for (const pid of await processesOf(directory)) process.kill(pid, "SIGKILL");
      await until(async () => (await processesOf(directory)).length === 0);
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Starts `kubedos build --json` of the spec in a directory, below other commands where given. */
export function startBuild(
  workshop: Workshop,
  cache: string,
  options: { spec?: string; below?: readonly string[]; env?: Record<string, string>; cwd?: string } = {},
) {
  const { spec = workshop.spec, below = [], env = {}, cwd } = options;
  const [command, ...args] = [...below, ...workshop.program, "build", join(spec, "lab.yaml"), "--json", "--offline"];
  const build = start(command, args, { env: { ...workshop.env, KUBEDOS_CACHE: cache, ...env }, cwd });
  const ended = build.ended.then(({ status, stdout, stderr }) => {
    const events = stdout.trim() === "" ? [] : jsonLines(stdout);
    const error = events.at(-1)?.["error"] as { code: string; message: string; hint?: string } | undefined;
    const started = events.filter(({ type }) => type === "stage.started").map(({ stage }) => String(stage));
    return { status, error, started, stderr };
  });
  return { pid: build.pid, kill: build.kill, ended };
}

/** A build that must go well: what it published. */
export async function buildReference(workshop: Workshop, cache: string): Promise<Record<string, string>> {
  const { status, error, stderr } = await startBuild(workshop, cache).ended;
  if (status !== 0) throw new Error(`the first build ended with status ${status}: ${error?.message ?? stderr}`);
  return published(workshop.spec);
}

/** File name → sha256 of everything that a build published. */
export async function published(spec: string): Promise<Record<string, string>> {
  const out = join(spec, "out/lab");
  const names = (await readdir(out)).toSorted();
  const hash = async (name: string) =>
    createHash("sha256")
      .update(await readFile(join(out, name)))
      .digest("hex");
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await hash(name)] as const)));
}

/** What a build that ended, however it ended, must not leave in its cache. */
export async function leftovers(cache: string): Promise<string[]> {
  const names = async (path: string, fits: (name: string) => boolean) =>
    (await readdir(join(cache, path)).catch(() => [])).filter(fits).map((name) => join(path, name));
  return [
    ...(await names("store/tmp", () => true)),
    ...(await names("store/leases", () => true)),
    ...(await names("actions", (name) => !name.endsWith(".json"))),
    // A whole root has a note of its last use beside it.
    ...(await names("foundry", (name) => name.includes(".") && !name.endsWith(".used"))),
  ];
}

/** Forgets every stage's output: packages and foundry root stay. */
export async function forgetStages(workshop: Workshop, cache: string): Promise<void> {
  const packages = new Set([...workshop.lock.platform, ...workshop.lock.foundry].map(({ sha256 }) => sha256));
  await rm(join(cache, "actions"), { recursive: true, force: true });
  for (const path of await readdir(join(cache, "store/sha256"), { recursive: true })) {
    const [, hash] = path.split("/");
    if (hash !== undefined && !packages.has(hash)) await rm(join(cache, "store/sha256", path));
  }
}

/** Living processes that belong to a directory: by command line, environment, or as the root that they see. */
export async function processesOf(directory: string, word = ""): Promise<number[]> {
  const found: number[] = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue;
    const read = (name: string) => readFile(`/proc/${pid}/${name}`, "utf8").catch(() => "");
    const command = await read("cmdline");
    if (command === "" || !command.includes(word)) continue; // ended, or another
    const root = await readlink(`/proc/${pid}/root`).catch(() => "");
    if ([command, root, await read("environ")].some((text) => text.includes(directory))) found.push(Number(pid));
  }
  return found;
}

/** Polls until it is true. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 120_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`did not come true within ${timeoutMs / 1000} s`);
    await delay(10);
  }
}

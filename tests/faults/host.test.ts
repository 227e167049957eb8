import { chmod, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cacheDirectory } from "../../src/host/paths.ts";
import { run } from "../../src/host/run.ts";
import {
  buildReference,
  leftovers,
  openWorkshop,
  processesOf,
  published,
  startBuild,
  type Workshop,
} from "./support.ts";

let workshop: Workshop;
let reference: Record<string, string>;
/** Packages only: nothing is ever built in it. */
let packages: string;
beforeAll(async () => {
  workshop = await openWorkshop();
  packages = await workshop.makeCache("packages");
  reference = await buildReference(workshop, cacheDirectory());
});
afterAll(() => workshop?.remove());

/** Runs a shell script in mounts of its own before the command that follows. */
function inMounts(script: string, ...words: string[]): string[] {
  const commands = `set -e; ${script}; shift ${words.length}; exec "$@"`;
  return ["unshare", "--mount", "--propagation", "private", "sh", "-c", commands, "sh", ...words];
}

describe("the disk is full", () => {
  test("while the tools are unpacked, while the platform is made: it is named; with room made, the build goes on", async () => {
    const cache = join(workshop.directory, "disk");
    const spec = await workshop.copySpec(join(workshop.directory, "full"));
    await mkdir(cache);
    await run("mount", ["-t", "tmpfs", "-o", "size=230m", "disk", cache]);
    try {
      await run("cp", ["-r", join(packages, "store"), cache]);
      for (const size of ["230m", "480m"]) {
        await run("mount", ["-o", `remount,size=${size}`, cache]);
        const { status, error } = await startBuild(workshop, cache, { spec }).ended;
        expect({ size, status }).toEqual({ size, status: 1 });
        expect(error?.message).toContain(`the disk is full: ${cache}`);
        expect(error?.hint).toContain("make room");
        expect({ size, left: await leftovers(cache) }).toEqual({ size, left: [] });
        expect(await processesOf(workshop.directory)).toEqual([]);
        expect(await readdir(spec)).not.toContain("out");
      }
      // So the second time it was the platform.
      const roots = (await readdir(join(cache, "foundry"))).filter((name) => !name.endsWith(".used"));
      expect(roots).toHaveLength(1);
      await run("mount", ["-o", "remount,size=2g", cache]);
      expect(await startBuild(workshop, cache, { spec }).ended).toMatchObject({ status: 0 });
      expect(await published(spec)).toEqual(reference);
    } finally {
      await run("umount", ["--lazy", cache]);
    }
  });

  test("where the artifacts go", async () => {
    const spec = await workshop.copySpec(join(workshop.directory, "full-out"));
    const out = join(spec, "out");
    await mkdir(out);
    await run("mount", ["-t", "tmpfs", "-o", "size=20m", "disk", out]);
    try {
      const { status, error } = await startBuild(workshop, cacheDirectory(), { spec }).ended;
      expect(status).toBe(1);
      expect(error?.message).toContain(`the disk is full: ${join(out, "lab")}`);
      expect(await readdir(join(out, "lab"))).toEqual([]);
      // Another file system with room: copies instead of links, and none the second time.
      await run("mount", ["-o", "remount,size=1g", out]);
      expect(await startBuild(workshop, cacheDirectory(), { spec }).ended).toMatchObject({ status: 0 });
      expect(await published(spec)).toEqual(reference);
    } finally {
      await run("umount", ["--lazy", out]);
    }
  });
});

test.each([
  ["dpkg-deb", "dpkg"],
  ["unshare", "util-linux"],
])("%s is missing: named, with its package", async (tool, debianPackage) => {
  const farm = join(workshop.directory, `without-${tool}`);
  await mkdir(join(farm, "real"), { recursive: true });
  await mkdir(join(farm, "bin"));
  const hide =
    'mount --bind /usr/bin "$1/real"; ln -s "$1"/real/* "$1/bin/"; rm "$1/bin/$2"; mount --bind "$1/bin" /usr/bin';
  const below = inMounts(hide, farm, tool);
  const { status, error } = await startBuild(workshop, packages, { below }).ended;
  expect({ status, error }).toMatchObject({
    status: 1,
    error: { message: `command not found: ${tool}`, hint: `apt-get install ${debianPackage}` },
  });
  expect(await leftovers(packages)).toEqual([]);
});

test("a root that may not make namespaces is told what it lacks", async () => {
  const below = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"];
  const { status, error } = await startBuild(workshop, packages, { below }).ended;
  expect(status).toBe(1);
  expect(error?.message).toContain("Operation not permitted");
  expect(error?.hint).toContain("CAP_SYS_ADMIN");
  expect(await leftovers(packages)).toEqual([]);
});

describe("without root", () => {
  const user = "kubedos-test-user";
  let home: string;
  let asUser: string[];
  beforeAll(async () => {
    home = join(workshop.directory, "user");
    await run("userdel", [user], { okStatuses: [0, 6] }); // 6: there is none; one may be left by a killed run
    await run("useradd", ["--home-dir", home, "--create-home", "--shell", "/bin/sh", user]);
    await workshop.copySpec(join(home, "spec"));
    await run("cp", ["-r", packages, join(home, "cache")]);
    await run("cp", ["-r", workshop.env["KUBEDOS_CONFIG"]!, join(home, "config")]);
    await run("chown", ["-R", `${user}:`, home]);
    await chmod(home, 0o700);
    asUser = ["setpriv", `--reuid=${user}`, `--regid=${user}`, "--init-groups"];
  });
  afterAll(async () => {
    for (const pid of await processesOf(home)) process.kill(pid, "SIGKILL");
    await run("userdel", [user]);
  });
  const build = () =>
    startBuild(workshop, join(home, "cache"), {
      spec: join(home, "spec"),
      below: asUser,
      env: { HOME: home, USER: user, KUBEDOS_CONFIG: join(home, "config") },
    }).ended;

  test("the same bytes, where the host allows user namespaces; else it says what is missing", async () => {
    const namespace = ["unshare", "--user", "--map-root-user", "--map-auto", "--mount", "true"];
    const [command, ...args] = [...asUser, ...namespace];
    const allowed = await run(command!, args).then(
      () => true,
      () => false,
    );
    const { status, error } = await build();
    const result = status === 0 ? await published(join(home, "spec")) : error?.hint;
    const hint: unknown = expect.stringContaining("/etc/subuid");
    expect({ status, result }).toEqual(allowed ? { status: 0, result: reference } : { status: 1, result: hint });
  });

  test("without a range in /etc/subuid it says so", async () => {
    await run("sed", ["-i", `/^${user}:/d`, "/etc/subuid", "/etc/subgid"]);
    await run("rm", ["-rf", join(home, "cache/actions")]);
    const { status, error } = await build();
    expect(status).toBe(1);
    expect(error?.hint).toContain("/etc/subuid");
    expect(await leftovers(join(home, "cache"))).toEqual([]);
  });
});

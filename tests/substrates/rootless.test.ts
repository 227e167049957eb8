import { chmod, copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, it } from "vitest";
import { cleanEnvironment, run } from "../../src/host/run.ts";

const uid = "65534";
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-rootless-"));
  await chmod(directory, 0o1777);
  const entry = join(import.meta.dirname, "rootless.ts");
  // One file, and a node of its own: the user may be allowed to read neither the project nor the installed one.
  const banner = { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' };
  const outfile = join(directory, "rootless.mjs");
  await build({ entryPoints: [entry], outfile, bundle: true, platform: "node", format: "esm", banner });
  await copyFile(process.execPath, join(directory, "node"));
});

afterAll(() => rm(directory, { recursive: true, force: true }));

it("an ordinary user runs machines and connects to them, where the host lets it open /dev/net/tun", async () => {
  const result = await asUser("mknod -m 0666 $0/tun c 10 200 && mount --bind $0/tun /dev/net/tun");
  expect(result).toMatchObject({
    uid: Number(uid),
    missing: [],
    peer: true,
    names: expect.arrayContaining(["lo", "kd0", "kd-1"]),
  });
  expect(result.status[0]).toMatchObject({ node: "hub-1", state: "running" });
  expect(result.after.map(({ state }) => state)).toEqual(["absent", "absent", "absent"]);
});

it("says what is missing where it may not", async () => {
  const failing = asUser("mknod -m 0600 $0/tun0 c 10 200 && mount --bind $0/tun0 /dev/net/tun");
  await expect(failing).rejects.toThrow("/dev/net/tun: cannot be opened by this user");
});

/** Runs the bundled script without privileges, after a preparation as root in mounts of its own. */
async function asUser(prepare: string) {
  const script = `${prepare}
export HOME=$0/home KUBEDOS_CACHE=$0/cache KUBEDOS_RUNTIME=$0/run TMPDIR=$0
exec setpriv --reuid ${uid} --regid ${uid} --clear-groups "$0/node" "$0/rootless.mjs"`;
  const args = ["--mount", "--propagation", "private", "sh", "-c", script, directory];
  const { stdout } = await run("unshare", args, { env: cleanEnvironment(), timeoutMs: 120_000 });
  return JSON.parse(stdout) as {
    uid: number;
    missing: unknown[];
    names: string[];
    peer: boolean;
    status: { node: string; state: string }[];
    after: { state: string }[];
  };
}

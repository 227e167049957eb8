import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { projectRoot, start } from "./kubedos.ts";

let cache: string;
beforeAll(async () => void (cache = await mkdtemp(join(tmpdir(), "kubedos-runtime-"))));
afterAll(() => rm(cache, { recursive: true, force: true }));

test.each([
  ["v20.19.0", true],
  ["v20.20.2", true],
  ["v24.0.0", true],
  ["20.19.2+dfsg-1+deb13u3", true],
  ["v20.18.9", false],
  ["v18.20.4", false],
  ["18.20.4+dfsg-1~deb12u3", false],
  ["", false],
  ["(none)", false],
])("Node %s is new enough: %s", async (version, enough) => {
  const script = `here=/ ; . ${projectRoot}/scripts/find-node.sh; is_new_enough "$1"`;
  const outcome = await start("sh", ["-euc", `if (${script}); then echo yes; else echo no; fi`, "sh", version]).ended;
  expect(outcome).toEqual({ status: 0, stdout: enough ? "yes\n" : "no\n", stderr: "" });
});

test("the private runtime: Debian 13's node, with workers, children and its own path; made once", async () => {
  const make = () => start(join(projectRoot, "scripts/runtime.sh"), [], { env: { KUBEDOS_CACHE: cache } }).ended;
  const [first, second] = await Promise.all([make(), make()]);
  expect(first).toMatchObject({ status: 0 });
  expect(second.stdout).toBe(first.stdout);
  const node = first.stdout.trim();
  const program = `
    const { Worker } = require("node:worker_threads");
    const { execFileSync } = require("node:child_process");
    const child = execFileSync(process.execPath, ["-p", "process.version"], { encoding: "utf8" }).trim();
    new Worker('require("node:worker_threads").parentPort.postMessage(process.execPath)', { eval: true })
      .on("message", (worker) => console.log(JSON.stringify({ path: process.execPath, worker, child })));`;
  const outcome = await start(node, ["-e", program]).ended;
  expect(JSON.parse(outcome.stdout)).toEqual({
    path: node,
    worker: node,
    child: expect.stringMatching(/^v20\.(19|[2-9]\d)\./),
  });
  expect((await make()).stderr).toBe("");
}, 120_000);

test("the private runtime: a mirror that is not there is named, and nothing is left behind", async () => {
  const env = { KUBEDOS_CACHE: join(cache, "other"), KUBEDOS_MIRROR: "file:/nowhere/debian" };
  const outcome = await start(join(projectRoot, "scripts/runtime.sh"), [], { env }).ended;
  expect(outcome).toMatchObject({ status: 1, stdout: "" });
  expect(outcome.stderr).toContain("could not be fetched from file:/nowhere/debian\n  hint: ");
  const left = await start("find", [join(cache, "other"), "-type", "d", "-name", "new.*"]).ended;
  expect(left.stdout).toBe("");
}, 120_000);

import { build } from "esbuild";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { jsonLines, start } from "./kubedos.ts";

let directory: string;
let script: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-interrupt-"));
  script = join(directory, "slow.mjs");
  await build({
    entryPoints: [join(import.meta.dirname, "slow.ts")],
    outfile: script,
    bundle: true,
    platform: "node",
    format: "esm",
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
  });
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function startSlow(...args: string[]) {
  const process = start("node", [script, "slow", ...args]);
  await until(async () => process.stderr().includes("started") && (await sleepOf(process.pid)) !== undefined);
  return { ...process, sleep: (await sleepOf(process.pid))! };
}

/** Process id of the `sleep` that a process has started. */
async function sleepOf(parent: number): Promise<string | undefined> {
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
    if (status.includes(`\nPPid:\t${parent}\n`) && status.startsWith("Name:\tsleep\n")) return pid;
  }
  return undefined;
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error("did not come true within 5 s");
}

async function hasEnded(pid: string): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  return status === "" || status.includes("State:\tZ");
}

test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
  "%s: the command ends, the verb cleans up, status 130",
  async (signal) => {
    const slow = await startSlow();
    slow.kill(signal);
    const outcome = await slow.ended;
    expect(outcome.status).toBe(130);
    expect(outcome.stderr).toContain("press Ctrl-C again");
    expect(outcome.stderr).toMatch(/cleaned up\nerror: interrupted/);
    expect(await hasEnded(slow.sleep)).toBe(true);
  },
);

test("a second Ctrl-C ends at once what does not listen, with the commands it runs", async () => {
  const slow = await startSlow("--deaf");
  slow.kill("SIGINT");
  await until(() => slow.stderr().includes("press Ctrl-C again"));
  expect(await hasEnded(slow.sleep)).toBe(false);
  slow.kill("SIGINT");
  const outcome = await slow.ended;
  expect(outcome.status).toBe(130);
  expect(outcome.stderr).not.toContain("cleaned up");
  await until(() => hasEnded(slow.sleep));
});

test("--json: the result of an interrupted run says so", async () => {
  const process = start("node", [script, "slow", "--json"]);
  await until(async () => (await sleepOf(process.pid)) !== undefined);
  process.kill("SIGINT");
  const outcome = await process.ended;
  expect(outcome.status).toBe(130);
  expect(jsonLines(outcome.stdout).at(-1)).toMatchObject({ type: "result", ok: false, error: { code: "interrupted" } });
});

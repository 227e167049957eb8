import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createProgram } from "../../src/cli/program.ts";
import { jsonLines, kubedos, projectRoot, start } from "./kubedos.ts";

let cache: string;
beforeAll(async () => {
  cache = await mkdtemp(join(tmpdir(), "kubedos-cli-"));
  await kubedos(["--version"]); // builds where that is due
});
afterAll(() => rm(cache, { recursive: true, force: true }));

test("--version prints package.json's version and nothing else", async () => {
  const outcome = await kubedos(["--version"]);
  expect(outcome).toEqual({ status: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), stderr: "" });
});

test("the launcher works through a symlink and from elsewhere", async () => {
  const outcome = await start("sh", ["-c", `ln -s ${projectRoot}/kubedos k && ./k --version`], { cwd: cache }).ended;
  expect(outcome.status).toBe(0);
});

test("a verb that does not exist: the nearest one is named, status 2", async () => {
  const outcome = await kubedos(["doctr"]);
  expect(outcome.status).toBe(2);
  expect(outcome.stderr).toContain("error: unknown command 'doctr'");
  expect(outcome.stderr).toContain("doctor");
  expect(outcome.stdout).toBe("");
});

test("an option that does not exist: the nearest one is named, status 2", async () => {
  const outcome = await kubedos(["store", "gc", "--dry-rum"]);
  expect(outcome.status).toBe(2);
  expect(outcome.stderr).toContain("--dry-run");
});

test("a wrong command line under --json is a result object too", async () => {
  const outcome = await kubedos(["doctr", "--json"]);
  expect(outcome.status).toBe(2);
  expect(jsonLines(outcome.stdout).at(-1)).toMatchObject({ type: "result", ok: false, error: { code: "usage" } });
});

test("--quiet and --verbose exclude each other", async () => {
  expect((await kubedos(["doctor", "-q", "-v"])).status).toBe(2);
});

test("global options work before and after the verb; --json ends with one result", async () => {
  for (const args of [
    ["--json", "store", "verify"],
    ["store", "verify", "--json"],
  ]) {
    const outcome = await kubedos(args, { env: { KUBEDOS_CACHE: cache } });
    const objects = jsonLines(outcome.stdout);
    expect(objects.filter((one) => one["type"] === "result")).toHaveLength(1);
    expect(objects.at(-1)).toMatchObject({ type: "result", verb: "store verify", ok: true, checked: 0 });
    expect(outcome.stderr).toBe("");
  }
});

test("a failing verb: status, error and hint on standard error, nothing on standard output", async () => {
  const args = ["store", "gc", "--keep", join(cache, "no.lock")];
  const outcome = await kubedos(args, { env: { KUBEDOS_CACHE: cache } });
  expect(outcome).toMatchObject({ status: 2, stdout: "" });
  expect(outcome.stderr).toMatch(/^error: no such lock: .*no\.lock\n {2}hint: /);
});

test("a reader that goes away is no error", async () => {
  const script = `${projectRoot}/kubedos completion bash | head -n 1; echo "\${PIPESTATUS[0]}"`;
  const outcome = await start("bash", ["-c", script]).ended;
  expect(outcome).toMatchObject({ stdout: expect.stringMatching(/\n0\n$/), stderr: "" });
});

describe("every verb", () => {
  const program = createProgram();
  const commands = program.commands.flatMap((command) => [command, ...command.commands]);
  test.each(commands.map((command) => [command.name(), command] as const))(
    "%s: help has examples and exit statuses",
    (_name, command) => {
      let help = "";
      command.configureOutput({ writeOut: (text) => (help += text) });
      command.outputHelp();
      expect(help).toMatch(/Examples:\n {2}kubedos \S/);
      expect(help).toMatch(/Exit status:\n {2}0 +done\n/);
      expect(help).toContain("--json");
    },
  );
});

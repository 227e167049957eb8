import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run } from "../../src/host/run.ts";
import { kubedos } from "./kubedos.ts";

// What it does with machines is in tests/boot/installation.test.ts.
let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kd-serve-"));
  await writeFile(join(directory, "hardware"), "hub serial S1\n");
  await run("tar", ["-cf", join(directory, "nobody.tar"), "-C", directory, "hardware"]);
  await writeFile(join(directory, "text"), "text");
  await run("tar", ["-cf", join(directory, "other.tar"), "-C", directory, "text"]);
});
afterAll(() => rm(directory, { recursive: true }));

test.each([
  ["nobody.tar", ["--interface", "lo"], 2, "say who gives addresses: --range, or --proxy"],
  ["nobody.tar", ["--interface", "lo", "--proxy", "--range", "127.0.0.2-127.0.0.3"], 2, "say who gives addresses"],
  ["nobody.tar", ["--interface", "lo", "--proxy", "--port", "99999"], 2, "--port 99999 is no port"],
  ["nobody.tar", ["--interface", "kd-none", "--proxy"], 2, "there is no network interface kd-none"],
  ["nobody.tar", ["--interface", "lo", "--range", "10.0.0.5-10.0.0.9"], 2, "is not in the interface's network"],
  ["nobody.tar", ["--interface", "lo", "--range", "127.0.0.9-127.0.0.5"], 2, "or no range"],
  ["nobody.tar", ["--interface", "lo", "--proxy"], 2, "names no machine: nobody would be answered"],
  ["other.tar", ["--interface", "lo", "--proxy"], 2, "other.tar is no netboot artifact"],
  ["missing.tar", ["--interface", "lo", "--proxy"], 1, "missing.tar: Cannot open"],
])("%s %s: status %i, %s", async (artifact, args, status, message) => {
  const outcome = await kubedos(["serve-netboot", join(directory, artifact), ...args]);
  expect(outcome.stderr).toContain(message);
  expect(outcome.stderr).toContain("hint: ");
  expect(outcome.status).toBe(status);
});

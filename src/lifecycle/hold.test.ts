import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTimeOf } from "../host/daemon.ts";
import { specPaths } from "../host/paths.ts";
import { holdCluster, holdFile } from "./hold.ts";

let directory: string;
let specFile: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-hold-"));
  specFile = join(directory, "lab.yaml");
  await writeFile(specFile, await readFile(join(import.meta.dirname, "../../examples/lab.yaml")));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

test("of two runs that change a cluster the second is refused at once, and the first named", async () => {
  let ran = 0;
  const second = () => holdCluster(specFile, "down", async () => ran++);
  await holdCluster(specFile, "up", async () => {
    await expect(second()).rejects.toMatchObject({
      code: "failed",
      message: expect.stringMatching(
        new RegExp(`^lab is being changed by .kubedos up., pid ${process.pid}, since \\d{4}-\\d\\d-\\d\\dT`),
      ),
      hint: expect.stringContaining(`kill -INT ${process.pid}`),
    });
    const other = join(directory, "other.yaml");
    await writeFile(other, await readFile(specFile));
    await holdCluster(other, "up", async () => ran++);
  });
  expect(ran).toBe(1);
  await second();
  expect(ran).toBe(2);
  await expect(stat(dirname(specPaths(specFile).state)), "nothing is left behind").rejects.toThrow("ENOENT");
});

test("a run that failed or was killed holds nothing", async () => {
  const failing = holdCluster(specFile, "up", () => Promise.reject(new Error("no")));
  await expect(failing).rejects.toThrow("no");
  const child = spawn("sleep", ["60"]);
  await once(child, "spawn");
  const file = holdFile(specPaths(specFile));
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${child.pid} ${await startTimeOf(child.pid!)} 0 converge 2030-01-01T00:00:00.000Z\n`);
  await expect(holdCluster(specFile, "up", async () => 1)).rejects.toThrow(
    `\`kubedos converge\`, pid ${child.pid}, since 2030-01-01T00:00:00.000Z`,
  );
  child.kill("SIGKILL");
  await once(child, "exit");
  expect(await holdCluster(specFile, "up", async () => 1)).toBe(1);
});

test("a spec that cannot be read makes no directory", async () => {
  await expect(holdCluster(join(directory, "none/lab.yaml"), "up", async () => 1)).rejects.toThrow("none/lab.yaml");
  await expect(stat(join(directory, "none"))).rejects.toThrow("ENOENT");
});

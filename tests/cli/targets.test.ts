import { expect, test } from "vitest";
import { targetNames } from "../../src/spec/types.ts";
import { jsonLines, kubedos } from "./kubedos.ts";

test("targets: every format that a spec may name, with what it is for and what it needs", async () => {
  const { status, stdout } = await kubedos(["targets"]);
  expect(status).toBe(0);
  const lines = stdout.trim().split("\n");
  expect(lines[0]).toMatch(/^TARGET +FOR +NEEDS$/);
  expect(lines.slice(1).map((line) => line.split(" ")[0])).toEqual([...targetNames]);
});

test("targets --json: the same for programs", async () => {
  const { stdout } = await kubedos(["targets", "--json"]);
  const result = jsonLines(stdout).at(-1)!;
  const list = result["targets"] as Record<string, string>[];
  expect(list.map(({ name }) => name)).toEqual([...targetNames]);
  for (const one of list) {
    expect(one).toEqual({
      name: expect.any(String),
      summary: expect.stringMatching(/.{10}/),
      needs: expect.stringMatching(/.{10}/),
      extension: expect.stringMatching(/^[a-z0-9.]+$/),
    });
  }
  expect(new Set(list.map(({ extension }) => extension)).size).toBe(list.length);
});

test("build --target: a format whose kernel the lock does not hold is refused with what to write", async () => {
  const { status, stderr } = await kubedos(["build", "examples/lab.yaml", "--target", "raw,metal"]);
  expect(status).toBe(2);
  expect(stderr).toContain("--target metal: it boots the generic kernel, which is not in this spec's lock");
  expect(stderr).toContain("write `metal` into the spec's `targets` too, and run `kubedos lock`");
});

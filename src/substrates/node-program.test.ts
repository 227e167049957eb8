import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { nodeFlags } from "../../shared/node-flags.ts";
import { nodeProgram } from "./node-program.ts";

// What a program says on standard error is shown to the operator when the way to its node is lost.
test("Node says nothing of its own about the flags of the platform's programs", async () => {
  const [, , , ...words] = nodeProgram("converge");
  const flags = words.slice(0, -1);
  expect(await promisify(execFile)(process.execPath, [...flags, "--eval", ""])).toEqual({ stdout: "", stderr: "" });
});

test("the units start them with the same flags", async () => {
  const units = join(import.meta.dirname, "../../node/units");
  const texts = await Promise.all(
    (await readdir(units, { recursive: true }))
      .filter((name) => name.endsWith(".service"))
      .map((name) => readFile(join(units, name), "utf8")),
  );
  const starts = texts.flatMap((text) => [...text.matchAll(/^ExecStart=\/usr\/bin\/node .*$/gm)].map(([line]) => line));
  expect(starts.length).toBeGreaterThan(3);
  for (const line of starts) expect(line).toContain(`/usr/bin/node ${nodeFlags.join(" ")} `);
});

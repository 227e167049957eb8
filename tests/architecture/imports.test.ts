import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findViolations } from "./rules.ts";
import { parseSource, projectRoot, readSources } from "./sources.ts";

const folders = ["src", "shared", "node", "ui"].filter((folder) => existsSync(join(projectRoot, folder)));

function report(path: string, text: string): string[] {
  return findViolations([parseSource(path, text)]).map(({ place, what, rule }) => `${place} ${what}: ${rule}`);
}

test("no source of the project crosses a wall", () => {
  const sources = readSources(folders);
  expect(sources.length).toBeGreaterThan(20);
  const found = findViolations(sources).map(({ place, what, rule }) => `${place} ${what}\n    rule: ${rule}`);
  expect(found.join("\n")).toBe("");
});

test("every relative import names an existing file with its ending", () => {
  const broken = readSources(folders).flatMap((source) =>
    source.imports
      .filter((one) => one.target !== undefined && !existsSync(join(projectRoot, one.target)))
      .map((one) => `${source.path}:${one.line} imports ${one.specifier}`),
  );
  expect(broken).toEqual([]);
});

describe("the rules see", () => {
  test.each([
    ["shared/a.ts", 'import { x } from "node:fs";', "shared/ is the contract"],
    ["shared/a.ts", 'import type { X } from "../src/spec/types.ts";', "shared/ is the contract"],
    ["shared/a.ts", "const t = Date.now();", "shared/ is pure"],
    ["node/agent/a.ts", 'import { run } from "../../src/host/run.ts";', "node/ runs inside the image"],
    ["node/agent/a.ts", 'import { parse } from "yaml";', "no npm package"],
    ["src/seal/a.ts", 'export { x } from "../../node/agent/main.ts";', "src/ runs on the operator's machine"],
    ["src/seal/a.ts", 'const x = await import("../../node/agent/main.ts");', "src/ runs on the operator's machine"],
    ["src/seal/a.ts", 'import "../../node/agent/main.ts";', "src/ runs on the operator's machine"],
    ["ui/a.ts", 'import { x } from "node:path";', "ui/ runs in a browser"],
    ["src/host/a.ts", 'import { x } from "../spec/types.ts";', "src/host/ is the lowest room"],
    ["src/store/a.ts", 'import { formatBytes } from "../cli/format.ts";', "src/cli/ is the highest room"],
    ["src/seal/a.ts", 'import {\n  spawn,\n} from "node:child_process";', "only src/host/ starts processes"],
    ["src/cli/a.ts", 'import { connect } from "node:net";', "only src/host/ starts processes"],
    ["src/seal/a.ts", 'const home = process.env["HOME"];', "only src/host/ reads the clock"],
    ["src/vault/a.ts", 'import { randomBytes } from "node:crypto";', "only src/host/ reads the clock"],
    ["src/seal/a.ts", "const now = new Date();", "only src/host/ reads the clock"],
    ["src/lock/a.ts", "const answer = await fetch(url);", "only src/host/ reads the clock"],
    ["src/features/a.ts", 'import { readFile } from "node:fs/promises";', "spec, fabric, features and plans are pure"],
    ["src/fabric/a.ts", 'import { run } from "../host/run.ts";', "spec, fabric, features and plans are pure"],
  ])("%s: %s", (path, text, rule) => {
    const found = report(path, text);
    expect(found.length).toBeGreaterThan(0);
    expect(found.join("\n")).toContain(rule);
  });

  test.each([
    ["shared/a.ts", 'import { x } from "./b.ts";'],
    ["src/seal/a.ts", '// import { run } from "node:child_process"\n/* process.env */\nconst url = "http://x/y";'],
    ["src/seal/a.ts", 'import { run } from "../host/run.ts";\nconst at = new Date(lock.epoch * 1000);'],
    ["src/host/a.ts", 'import { spawn } from "node:child_process";\nconst home = process.env["HOME"];'],
    ["src/seal/a.test.ts", 'import { spawn } from "node:child_process";'],
  ])("nothing wrong in %s: %s", (path, text) => {
    expect(report(path, text)).toEqual([]);
  });

  test("the line of what is wrong", () => {
    expect(report("src/seal/a.ts", '/* two\nlines */\nimport {\n  spawn,\n} from "node:child_process";')[0]).toMatch(
      /^src\/seal\/a\.ts:5 imports node:child_process: /,
    );
  });
});

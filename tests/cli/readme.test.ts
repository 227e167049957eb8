import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createProgram } from "../../src/cli/program.ts";
import { projectRoot } from "./kubedos.ts";

const readme = readFileSync(join(projectRoot, "README.md"), "utf8");
const rows = readme.split("\n").filter((line) => line.startsWith("| `"));

test("the README's table of verbs has every verb, and none that does not exist", () => {
  const commands = createProgram().commands;
  const documented = rows.flatMap((row) => [...row.split("|")[1]!.matchAll(/`([a-z-]+)/g)].map((match) => match[1]!));
  const inTable = new Set(documented.filter((name) => !/^(lab|out)$/.test(name)));
  expect([...inTable].toSorted()).toEqual(commands.map((command) => command.name()).toSorted());
});

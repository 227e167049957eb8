import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { completionScript } from "../../src/cli/completion.ts";
import { createProgram } from "../../src/cli/program.ts";
import { start } from "./kubedos.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-completion-"));
  await writeFile(join(directory, "kubedos.bash"), completionScript(createProgram(), "bash"));
  await writeFile(join(directory, "storm.yaml"), "");
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** What bash itself offers for a line, the cursor at its end. */
async function complete(line: string): Promise<string[]> {
  const words = line.split(" ");
  const script = `
    source ./kubedos.bash
    COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}
    _kubedos
    printf '%s\\n' "\${COMPREPLY[@]}"`;
  const outcome = await start("bash", ["--norc", "-c", script], { cwd: directory }).ended;
  expect(outcome).toMatchObject({ status: 0, stderr: "" });
  return outcome.stdout.split("\n").filter((word) => word !== "");
}

test("bash: the script is registered for kubedos", async () => {
  const outcome = await start("bash", ["--norc", "-c", "source ./kubedos.bash && complete -p kubedos"], {
    cwd: directory,
  }).ended;
  expect(outcome.stdout).toBe("complete -F _kubedos kubedos\n");
});

test("bash: verbs, and verbs below a verb", async () => {
  expect(await complete("kubedos doc")).toEqual(["doctor"]);
  expect(await complete("kubedos ")).toEqual(createProgram().commands.map((command) => command.name()));
  expect(await complete("kubedos store ")).toEqual(["gc", "verify", "import", "export"]);
  expect(await complete("kubedos --json store v")).toEqual(["verify"]);
});

test("bash: options of the verb and of kubedos", async () => {
  expect(await complete("kubedos store gc --dr")).toEqual(["--dry-run"]);
  expect(await complete("kubedos store gc --off")).toEqual(["--offline"]);
  expect(await complete("kubedos doctor --dr")).toEqual([]);
});

test("bash: choices of an argument, files elsewhere", async () => {
  expect(await complete("kubedos completion ")).toEqual(["bash", "zsh", "fish"]);
  expect(await complete("kubedos store gc --keep st")).toEqual(["storm.yaml"]);
});

test("zsh and fish: every verb and option is in the script", () => {
  const program = createProgram();
  for (const shell of ["zsh", "fish"] as const) {
    const script = completionScript(program, shell);
    for (const command of program.commands) {
      expect(script).toContain(command.name());
      for (const option of command.options) expect(script).toContain(option.long!.replace(/^--/, ""));
    }
  }
});

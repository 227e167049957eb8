import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parseSpec } from "../../src/spec/load.ts";
import { jsonLines, kubedos } from "./kubedos.ts";

let directory: string;
beforeEach(async () => void (directory = await mkdtemp(join(tmpdir(), "kubedos-init-"))));
afterEach(() => rm(directory, { recursive: true, force: true }));

function init(...args: string[]) {
  return kubedos(["init", ...args], { cwd: directory, env: { KUBEDOS_CONFIG: join(directory, "config") } });
}

async function mode(name: string): Promise<string> {
  return ((await stat(join(directory, name))).mode & 0o777).toString(8);
}

test("writes a spec that passes check, a vault and an identity that only the owner can read", async () => {
  const outcome = await init("mine");
  expect(outcome).toMatchObject({ status: 0, stderr: "" });
  expect(await mode("mine.vault")).toBe("600");
  expect(await mode("config/identity.txt")).toBe("600");
  const text = await readFile(join(directory, "mine.yaml"), "utf8");
  const { spec, problems } = parseSpec(text, "mine.yaml");
  expect(problems).toEqual([]);
  expect(spec?.metadata.name).toBe("mine");
  expect(outcome.stdout).toContain(spec!.trust.foundryKey!);
  const checked = await kubedos(["check", "mine.yaml"], { cwd: directory });
  expect(checked.status).toBe(0);
});

test("never overwrites a spec or a vault, and then leaves nothing behind", async () => {
  for (const name of ["mine.yaml", "mine.vault"]) {
    await writeFile(join(directory, name), "precious");
    const outcome = await init("mine");
    expect(outcome.status).toBe(2);
    expect(outcome.stderr).toContain(`${name} exists already`);
    expect(await readFile(join(directory, name), "utf8")).toBe("precious");
    expect(await readdir(directory)).toEqual([name]);
    await rm(join(directory, name));
  }
});

test.each(["My_Cluster", "../up", "-x"])("refuses the name %s and writes nothing", async (name) => {
  const outcome = await init("--", name);
  expect(outcome.status).toBe(2);
  expect(outcome.stderr).toContain("hint:");
  expect(await readdir(directory)).toEqual([]);
});

test("a passphrase from a file locks the vault; a short one is refused", async () => {
  await writeFile(join(directory, "short"), "abc");
  await writeFile(join(directory, "long"), "correct horse battery");
  expect((await init("a", "--passphrase-file", "short")).status).not.toBe(0);
  const outcome = await init("b", "--passphrase-file", "long", "--json");
  expect(outcome.status).toBe(0);
  expect(jsonLines(outcome.stdout).at(-1)).toMatchObject({ ok: true, vault: expect.stringMatching(/b\.vault$/) });
  expect(await readdir(directory)).toEqual(["b.vault", "b.yaml", "long", "short"]);
  expect(outcome.stdout + outcome.stderr).not.toContain("correct horse");
});

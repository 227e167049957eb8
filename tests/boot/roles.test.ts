import { existsSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { ansibleFiles } from "../../shared/render/inventory.ts";
import { exampleLayer } from "../../shared/render/testing.ts";
import { cacheDirectory } from "../../src/host/paths.ts";
import { cleanEnvironment, run } from "../../src/host/run.ts";
import { projectRoot } from "../cli/kubedos.ts";

// ansible-lint is on PyPI only. Its ansible-core is of the release that Debian 13 has.
const wanted = ["ansible-lint==26.10.1", "ansible-core==2.19.*"];
const tools = join(cacheDirectory(), "tests", "ansible-lint-26.10.1");
const content = join(projectRoot, "node/ansible");

beforeAll(async () => {
  if (existsSync(join(tools, "done"))) return;
  // Its scripts name their Python by its path, so it is made where it stays.
  await rm(tools, { recursive: true, force: true });
  await mkdir(tools, { recursive: true });
  await run("python3", ["-m", "venv", tools], { timeoutMs: 120_000 });
  const env = { ...process.env, ...cleanEnvironment() } as Record<string, string>;
  await run(join(tools, "bin/pip"), ["install", "--quiet", ...wanted], { env, timeoutMs: 300_000 });
  await writeFile(join(tools, "done"), "");
});

/** A tool of the virtual environment. */
function tool(name: string, args: readonly string[], extra: Record<string, string> = {}) {
  const path = `${join(tools, "bin")}:${cleanEnvironment()["PATH"]}`;
  const env = cleanEnvironment({ PATH: path, ANSIBLE_ROLES_PATH: join(content, "roles"), ...extra });
  return run(join(tools, "bin", name), args, { env, cwd: content, timeoutMs: 120_000 });
}

test("ansible-lint's production profile passes", async () => {
  const { stdout } = await tool("ansible-lint", ["--offline", "--profile", "production", "--nocolor", "-q"]);
  expect(stdout).toBe("");
});

test("Ansible reads every playbook with a rendered inventory", async () => {
  const scratch = join(tools, `inventory-${process.pid}`);
  await mkdir(scratch, { recursive: true });
  try {
    const layer = { ...exampleLayer({ nodes: 3 }), features: ["ansible", "etcd", "observability"] };
    const inventory = join(scratch, "inventory.yml");
    await writeFile(inventory, ansibleFiles(layer)[0]!.content);
    const local = { ANSIBLE_LOCAL_TEMP: join(scratch, "tmp"), HOME: scratch };
    await tool("ansible-playbook", ["--syntax-check", "-i", inventory, "site.yml"], local);
    const graph = await tool("ansible-inventory", ["-i", inventory, "--graph"], local);
    expect(graph.stdout).toContain("@role_worker:\n  |  |--worker-1");
    const hosts = await tool(
      "ansible-playbook",
      ["--list-hosts", "-i", inventory, "playbooks/observability.yml"],
      local,
    );
    expect(hosts.stdout).toMatch(/Metrics and alerts.*\n.*\n\s+hosts \(1\):\n\s+hub-1/);
  } finally {
    await rm(scratch, { recursive: true });
  }
});

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { jsonLines, kubedos } from "./kubedos.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-pki-cli-"));
  const text =
    "apiVersion: kubedos/v1\nmetadata: { name: lab }\nnodes:\n  - { name: hub, role: hub }\n  - { name: core-1 }\n";
  await writeFile(join(directory, "lab.yaml"), text);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function issued(nodes: Record<string, number>): Promise<void> {
  const day = 24 * 3600 * 1000;
  const record = (daysAgo: number) => ({ issuedAt: new Date(Date.now() - daysAgo * day).toISOString(), days: 90 });
  const entries = Object.entries(nodes).map(([name, daysAgo]) => [name, record(daysAgo)]);
  await mkdir(join(directory, ".kubedos/lab"), { recursive: true });
  const file = { format: 1, nodes: Object.fromEntries(entries) as unknown, operators: {} };
  await writeFile(join(directory, ".kubedos/lab/issued.json"), JSON.stringify(file));
}

function list(...args: string[]) {
  return kubedos(["pki", "list", join(directory, "lab.yaml"), ...args]);
}

test("shows root, authorities and what each node has, before and after the first issue", async () => {
  expect(await list()).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^root +lab root +- +2049-12-31/m) as string,
  });
  expect((await list()).stdout).toMatch(/^node +core-1 +etcd +- +not issued$/m);
  await issued({ hub: 1, "core-1": 50 });
  const outcome = await list("--json");
  expect(outcome.status).toBe(0);
  const { certificates } = jsonLines(outcome.stdout).at(-1) as { certificates: { name: string; state: string }[] };
  expect(certificates).toHaveLength(1 + 3 + 2 * 3 + 1);
  expect(certificates.filter(({ name }) => name === "core-1").map(({ state }) => state)).toEqual(["due", "due", "due"]);
});

test("a certificate out of date is named, with the way out, and the exit status says so", async () => {
  await issued({ hub: 1, "core-1": 91 });
  const outcome = await list();
  expect(outcome.status).toBe(3);
  expect(outcome.stdout).toMatch(/^out of date: core-1$/m);
  expect(outcome.stdout).toContain("kubedos pki renew");
  const checked = await kubedos(["check", join(directory, "lab.yaml")]);
  expect(checked.status).toBe(0);
  expect(checked.stderr).toMatch(/warning: certificates of core-1 are out of date/);
});

test("renew and operator say what is wrong before they touch anything", async () => {
  const spec = ["--spec", join(directory, "lab.yaml")];
  expect((await kubedos(["pki", "renew", ...spec])).stderr).toMatch(/there is no vault|no vault/);
  expect((await kubedos(["pki", "operator", "alice", ...spec])).status).toBe(2);
});

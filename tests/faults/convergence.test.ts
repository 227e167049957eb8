import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Report } from "../../src/converge/report.ts";
import { specPaths, type SpecPaths } from "../../src/host/paths.ts";
import { openProject } from "../../src/lifecycle/project.ts";
import { kubedos, projectRoot, start, type Outcome } from "../cli/kubedos.ts";
import { killContainer, makeScratch, until, type Scratch } from "../boot/support.ts";

// What may go wrong with a cluster that converges: three containers with all platform services, from the first `up` to
// `down`. The tests build on each other.
let scratch: Scratch;
let specFile: string;
let paths: SpecPaths;
const nodeTimeoutSeconds = 20;

beforeAll(async () => {
  scratch = await makeScratch();
  specFile = join(scratch.directory, "services.yaml");
  paths = specPaths(specFile);
  // The platform of the example as it is, so that its image is made once for all test files.
  const example = await readFile(join(projectRoot, "examples/services.yaml"), "utf8");
  const platform = example.slice(0, example.indexOf("\nnodes:"));
  const own = [
    "nodes:",
    "  - { name: hub, roles: [hub, edge], index: 1 }",
    "  - { name: core-1, role: core, index: 2 }",
    "  - { name: edge-1, role: edge, index: 3 }",
    "substrate: { name: nspawn }",
    "targets: [raw]",
    `convergence: { nodeTimeoutSeconds: ${nodeTimeoutSeconds} }`,
    "acceptance: { gates: [fabric, certificates] }",
    "",
  ];
  await writeFile(specFile, `${platform}\n${own.join("\n")}`);
  await kubedos(["--version"]); // bundles what is due
  await openProject(specFile, { vault: {}, create: true }, scratch.context);
});
afterAll(async () => {
  if (scratch === undefined) return;
  await cli("down", specFile);
  await scratch.remove();
});

function cli(...args: string[]): Promise<Outcome> {
  return kubedos(args, { env: scratch.env });
}

async function report(): Promise<Report> {
  return JSON.parse(await readFile(join(paths.state, "report.json"), "utf8")) as Report;
}

test("a node that never comes is named, the others are converged; after build all without any network", async () => {
  const build = await cli("build", specFile);
  expect(build.status, build.stderr).toBe(0);
  const offline = ["--net", "--", join(projectRoot, "kubedos"), "up", specFile];
  const first = start("unshare", offline, { env: scratch.env });
  await until("edge-1", 120, () => killContainer(paths, "edge-1").catch(() => undefined));
  const outcome = await first.ended;
  expect(outcome.status, outcome.stderr).toBe(3);
  expect(outcome.stderr).toContain("1 node(s) did not come up");
  expect(outcome.stderr).toContain("edge-1: its machine is stopped");
  const { passed, nodes: seen, convergence } = await report();
  expect(passed).toBe(false);
  expect(seen.map(({ node, problem }) => [node, problem])).toEqual([
    ["hub", undefined],
    ["core-1", undefined],
    ["edge-1", "its machine is stopped"],
  ]);
  expect(convergence).toMatchObject({ outcome: "failed", lost: [{ node: "edge-1" }] });
  for (const { stage, status } of convergence!.stages) expect(status, stage).toMatch(/^(done|skipped)$/);

  const second = await start("unshare", offline, { env: scratch.env }).ended;
  expect(second.status, second.stderr).toBe(0);
  expect((await report()).convergence).toMatchObject({ outcome: "passed", lost: [] });
});

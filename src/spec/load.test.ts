import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { KubedosError } from "../../shared/error.ts";
import { loadSpec, parseSpec } from "./load.ts";

const minimal = `apiVersion: kubedos/v1
metadata: { name: demo }
nodes:
  - { name: hub, role: hub }
`;

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-spec-"));
});
afterAll(() => rm(directory, { recursive: true }));

async function load(content: string | Uint8Array): Promise<unknown> {
  const file = join(directory, "x.yaml");
  await writeFile(file, content);
  return loadSpec(file).catch((error: unknown) => error);
}

test.each(["examples/lab.yaml", "examples/lab-nspawn.yaml"])("%s passes", async (file) => {
  const spec = await loadSpec(join(import.meta.dirname, "../..", file));
  expect(spec.nodes.map((node) => [node.name, node.index, node.underlay])).toEqual([
    ["hub", 1, "10.100.0.11"],
    ["core-1", 2, "10.100.0.12"],
    ["worker-1", 3, "10.100.0.13"],
  ]);
});

test("a minimal spec has all defaults", () => {
  expect(parseSpec(minimal, "x.yaml")).toMatchSnapshot();
});

test("pools become nodes; written indexes and addresses are kept, the others get the lowest free ones", () => {
  const { spec, problems } = parseSpec(
    `${minimal}  - { name: a }
  - { name: b, index: 2, underlay: 10.100.7.7 }
pools:
  - { name: core, role: core, count: 3 }
  - { name: w, count: 2, firstIndex: 100, firstUnderlay: 10.100.9.254, memoryMiB: 1024, generation: 3 }
`,
    "x.yaml",
  );
  expect(problems).toEqual([]);
  expect(
    spec!.nodes.map((node) => [node.name, node.index, node.underlay, node.roles[0], node.memoryMiB, node.generation]),
  ).toEqual([
    ["hub", 1, "10.100.0.11", "hub", 512, 1],
    ["a", 3, "10.100.0.13", "worker", 512, 1],
    ["b", 2, "10.100.7.7", "worker", 512, 1],
    ["core-1", 4, "10.100.0.14", "core", 512, 1],
    ["core-2", 5, "10.100.0.15", "core", 512, 1],
    ["core-3", 6, "10.100.0.16", "core", 512, 1],
    ["w-1", 100, "10.100.9.254", "worker", 1024, 3],
    ["w-2", 101, "10.100.9.255", "worker", 1024, 3],
  ]);
});

test("defaults follow from other fields", () => {
  const text = `${minimal}underlay: { mtu: 9000 }
planes:
  - { name: wg1, purpose: control, cidr: 10.101.0.0/24 }
  - { name: wg2, cidr: 10.102.0.0/24, port: 40000 }
substrate: { name: nspawn }
trust: { operators: [{ name: ann }, { name: bob }] }
platform: { files: [{ path: /etc/a, mode: "0755", content: x }] }
`;
  const { spec } = parseSpec(text, "x.yaml");
  expect(spec!.planes.map((plane) => [plane.port, plane.mtu])).toEqual([
    [51_821, 8920],
    [40_000, 8920],
  ]);
  expect(spec!.acceptance.gates).toEqual(["certificates"]);
  const two = parseSpec(text.replace("underlay:", "  - { name: two }\nunderlay:"), "x.yaml");
  expect(two.spec!.acceptance.gates).toEqual(["fabric", "certificates", "firewall"]);
  expect(spec!.platform.features).toEqual([
    "agent",
    "base",
    "firewall",
    "kernel",
    "planes",
    "repository",
    "ssh",
    "time",
  ]);
  expect(spec!.trust.operators).toEqual([
    { name: "ann", slot: 1 },
    { name: "bob", slot: 2 },
  ]);
  expect(spec!.platform.files[0]!.mode).toBe(0o755);
});

test("loadSpec throws all problems at once", async () => {
  const error = await load(`${minimal}  - { name: hub, memoryMiB: 1 }\nzzz: 1\n`);
  expect(error).toBeInstanceOf(KubedosError);
  expect(error).toMatchObject({ code: "spec", message: expect.stringContaining("3 problems") });
  expect((error as KubedosError).problems.map((problem) => [problem.at?.line, problem.at?.col])).toEqual([
    [5, 13],
    [5, 29],
    [6, 1],
  ]);
});

test.each([
  ["NUL bytes", Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 0, 0), "NUL bytes"],
  ["not UTF-8", Uint8Array.of(0x61, 0x3a, 0x20, 0xff, 0xfe), "not UTF-8"],
  ["an empty file", "", "one problem"],
])("%s: refused with a hint", async (_name, content, says) => {
  expect(await load(content)).toMatchObject({
    code: "spec",
    message: expect.stringContaining(says),
    hint: expect.any(String),
  });
});

test("a byte order mark and Windows line ends are taken", async () => {
  expect(await load(`\uFEFF${minimal.replaceAll("\n", "\r\n")}`)).toMatchObject({ metadata: { name: "demo" } });
});

test("a missing file and a directory: refused with a hint", async () => {
  await expect(loadSpec(join(directory, "none.yaml"))).rejects.toMatchObject({
    code: "spec",
    message: expect.stringContaining("no spec at"),
    hint: expect.stringContaining("kubedos init"),
  });
  await expect(loadSpec(directory)).rejects.toMatchObject({
    code: "spec",
    message: expect.stringContaining("is a directory"),
  });
});

/** A spec of n nodes, one by one, as a generator would write it. */
function largeSpec(count: number, topology: "mesh" | "hub"): string {
  const planes = ["control", "observability", "backend"].map(
    (purpose, i) =>
      `  - { name: wg${i + 1}, purpose: ${purpose}, cidr: 10.10${i + 1}.0.0/16, topology: ${topology} }\n`,
  );
  const nodes = Array.from(
    { length: count - 1 },
    (_, i) => `  - name: node-${i}\n    role: worker\n    cpus: 2\n    memoryMiB: 2048\n`,
  );
  return `apiVersion: kubedos/v1\nmetadata: { name: large }\nplanes:\n${planes.join("")}nodes:\n  - { name: hub, role: hub }\n${nodes.join("")}`;
}

test.each([
  [1000, "mesh"],
  [10_000, "hub"],
] as const)(
  "%d nodes (%s) are checked",
  (count, topology) => {
    const { spec, problems } = parseSpec(largeSpec(count, topology), "x.yaml");
    expect(problems).toEqual([]);
    expect(spec?.nodes.length).toBe(count);
  },
  120_000,
);

test("10,000 wrong nodes are 10,000 problems", () => {
  const text = largeSpec(10_000, "hub").replaceAll("cpus: 2", "cpus: two");
  expect(parseSpec(text, "x.yaml").problems.length).toBe(9_999);
}, 120_000);

import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { reportText, writeReport, type Report } from "./report.ts";

const report: Report = {
  format: 1,
  cluster: "example",
  substrate: "qemu",
  sealed: true,
  startedAt: "2026-01-01T00:00:00.000Z",
  passed: false,
  rootHash: "ab12",
  artifacts: [{ target: "raw", path: "/lab/out/lab/lab.raw", sizeBytes: 200_278_016, sha256: "cd34" }],
  stages: [
    { stage: "tree", seconds: 9.876, cached: false },
    { stage: "root", seconds: 0, cached: true },
  ],
  timings: { build: 12.34, boot: 80, gates: 5.06, total: 97.4 },
  nodes: [
    { node: "hub", roles: ["hub", "edge"], phase: "fabric", reachedSeconds: { sealed: 15.21, fabric: 61 } },
    { node: "core", roles: ["core"], phase: "failed", reachedSeconds: {}, problem: "the seed is of another cluster" },
  ],
  gates: [
    {
      gate: "fabric",
      summary: "every pair of nodes answers on every plane",
      passed: false,
      seconds: 5.06,
      checks: [
        { what: "hub to core on wg1", ok: true, evidence: "3 of 3 answered, 1.20 ms" },
        { what: "core to hub on wg1", ok: false, evidence: "not probed" },
      ],
    },
  ],
};

const golden = `# Acceptance of example: FAILED

Substrate qemu, started 2026-01-01T00:00:00.000Z, root hash \`ab12\`.

| step | s |
|---|---|
| build | 12.3 |
| boot | 80.0 |
| gates | 5.1 |
| total | 97.4 |

## Artifacts

- raw: \`/lab/out/lab/lab.raw\`, 200278016 bytes, sha256 \`cd34\`

## Stages

| stage | s |
|---|---|
| tree | 9.9 |
| root | cached |

## Nodes

| node | roles | phase | reached (s of uptime) |
|---|---|---|---|
| hub | hub, edge | fabric | sealed 15.2, fabric 61.0 |
| core | core | failed: the seed is of another cluster |  |

## Gates

### fabric: FAILED (5.1 s)

every pair of nodes answers on every plane.

- ok hub to core on wg1: 3 of 3 answered, 1.20 ms
- **failed** core to hub on wg1: not probed

`;

test("for people", () => {
  expect(reportText(report)).toBe(golden);
  expect(reportText({ ...report, sealed: false })).toContain("Substrate qemu (unsealed), started");
});

test("both forms are written whole, again too; the path is the readable one's", async () => {
  const directory = await mkdtemp(join(tmpdir(), "kubedos-report-"));
  try {
    await writeReport(directory, { ...report, cluster: "older" });
    const path = await writeReport(directory, report);
    expect(path).toBe(join(directory, "report.md"));
    expect(await readFile(path, "utf8")).toBe(golden);
    expect(JSON.parse(await readFile(join(directory, "report.json"), "utf8"))).toEqual(report);
    expect((await readdir(directory)).toSorted()).toEqual(["report.json", "report.md"]);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

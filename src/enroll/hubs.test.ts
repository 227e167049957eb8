import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { EnrollCommand } from "../../shared/enroll.ts";
import { KubedosError } from "../../shared/error.ts";
import { exampleLayer } from "../../shared/render/testing.ts";
import { specPaths } from "../host/paths.ts";
import { type EnrollCluster, openWindow, reachableHubs } from "./hubs.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-hubs-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** Hubs that are fakes: what each was told; those in `off` cannot be reached, those in `refusing` open no window. */
function fakeCluster({ off = [], refusing = [] }: { off?: string[]; refusing?: string[] }) {
  const told: string[] = [];
  const cluster: EnrollCluster = {
    paths: specPaths(join(directory, "lab.yaml")),
    layer: exampleLayer({ nodes: 3 }),
    async shell(hub, _command, options = {}) {
      if (off.includes(hub)) throw new KubedosError("failed", `${hub} cannot be reached over SSH: timed out`);
      if (options.input === undefined) return { status: 0, stdout: "", stderr: "" };
      const { command } = JSON.parse(options.input) as EnrollCommand;
      told.push(`${hub} ${command}`);
      const refuses = command === "open" && refusing.includes(hub);
      const reply = refuses ? { ok: false, error: "the audit log is not whole" } : { ok: true, data: { hub } };
      return { status: 0, stdout: JSON.stringify(reply), stderr: "" };
    },
  };
  return { cluster, told };
}

test("a hub that is lost is named, and the others are told; when all are lost that is the error", async () => {
  const { cluster } = fakeCluster({ off: ["b"] });
  expect(await reachableHubs(cluster, ["a", "b", "c"])).toEqual({
    hubs: ["a", "c"],
    lost: [{ hub: "b", reason: "b cannot be reached over SSH: timed out" }],
  });
  const none = fakeCluster({ off: ["a", "b"] });
  await expect(reachableHubs(none.cluster, ["a", "b"])).rejects.toThrow("a cannot be reached");
});

test("a window that one hub does not open stays open on none", async () => {
  const good = fakeCluster({});
  expect(await openWindow(good.cluster, ["a", "b"], 5, true)).toEqual([{ hub: "a" }, { hub: "b" }]);
  expect(good.told.toSorted()).toEqual(["a open", "b open"]);
  const { cluster, told } = fakeCluster({ refusing: ["b"] });
  await expect(openWindow(cluster, ["a", "b"], 5, true)).rejects.toThrow("b: the audit log is not whole");
  expect(told.toSorted()).toEqual(["a close", "a open", "b open"]);
});

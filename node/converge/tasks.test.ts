import { expect, test } from "vitest";
import { taskTally } from "./tasks.ts";

function tally(...lines: Record<string, unknown>[]) {
  const made = taskTally();
  for (const line of lines) made.take(JSON.stringify(line));
  return made;
}

const start = (at: number, host: string, task: string) => ({ event: "start", at, host, task });
const result = (at: number, host: string, task: string, outcome: string, message = "", ignored = false) => ({
  ...{ event: "result", at, host, task, outcome, message, ignored, place: "site.yml:1" },
});
const stats = (host: string, failures: number, unreachable = 0) => ({
  ...{ event: "stats", at: 9, host, ok: 2, changed: 1, failures, unreachable, skipped: 0 },
});

test("counts as Ansible counts, and the seconds of each node", () => {
  const { nodes, failure } = tally(
    start(1, "hub", "a"),
    result(3, "hub", "a", "changed"),
    start(3, "hub", "b"),
    result(4.5, "hub", "b", "skipped"),
    result(5, "hub", "c", "failed", "no", true),
  );
  expect(nodes).toEqual({ hub: { ok: 2, changed: 1, failed: 0, unreachable: 0, skipped: 1, seconds: 4 } });
  expect(failure()).toBeUndefined();
});

test("names the node, the task and the cause of a failure", () => {
  const made = tally(start(1, "core", "mount"), result(2, "core", "mount", "failed", "no disk"), stats("core", 1));
  expect(made.failure()).toEqual({ node: "core", task: "mount", message: "no disk" });
});

test("a failure that the playbook rescued is none", () => {
  const made = tally(start(1, "core", "try"), result(2, "core", "try", "failed", "no"), stats("core", 0));
  expect(made.failure()).toBeUndefined();
});

test("a node that went away is lost, and no failure of the stage", () => {
  const made = tally(
    start(1, "core", "try"),
    result(2, "core", "try", "unreachable", "timed out"),
    stats("core", 0, 1),
  );
  expect(made.failure()).toBeUndefined();
  expect(made.unreachable()).toEqual([{ node: "core", reason: "timed out" }]);
});

test("knows what runs when a playbook is cut off, and takes half a line for none", () => {
  const made = tally(
    start(1, "core", "a"),
    result(2, "core", "a", "ok"),
    start(2, "core", "sleep"),
    start(2, "hub", "b"),
  );
  expect(made.take('{"event":"res')).toBeUndefined();
  expect(made.running()).toEqual([
    { node: "core", task: "sleep" },
    { node: "hub", task: "b" },
  ]);
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { KubedosError } from "../../../shared/error.ts";
import type { EventBody } from "../../../shared/events.ts";
import { paintWith } from "../format.ts";
import { barLines } from "./bars.ts";
import { jsonRenderer } from "./json.ts";
import { plainRenderer } from "./plain.ts";
import { fakeTerminal } from "./testing.ts";
import { ttyRenderer } from "./tty.ts";
import type { Verbosity } from "./types.ts";

function setUp(create: typeof plainRenderer, verbosity: Verbosity = "normal", columns = 80) {
  const out = fakeTerminal(columns);
  const err = fakeTerminal(columns);
  const clock = { seconds: 0 };
  const renderer = create({ out, err, verbosity, color: false, elapsedSeconds: () => clock.seconds });
  return { out, err, clock, renderer };
}

const progress = (done: number): EventBody => ({
  type: "stage.progress",
  stage: "acquire",
  done,
  total: 100e6,
  unit: "bytes",
});

test("plain: events on standard error, the result alone on standard output", () => {
  const { out, err, renderer } = setUp(plainRenderer);
  renderer.emit({ type: "stage.started", stage: "rootfs", id: "ab12" });
  renderer.emit({ type: "stage.done", stage: "rootfs", id: "ab12", seconds: 12.34, sizeBytes: 174e6 });
  renderer.emit({ type: "node.phase", node: "core-1", phase: "planes", uptimeSeconds: 41 });
  renderer.emit({
    type: "gate.failed",
    gate: "fabric",
    summary: "core-1 does not answer",
    hint: "look at its console",
  });
  renderer.emit({ type: "log", level: "warn", message: "slow mirror" });
  renderer.result("build", { data: {}, text: "all done" });
  expect(out.text()).toBe("all done\n");
  expect(err.text().split("\n")).toEqual([
    "done   rootfs  12.3 s  174 MB",
    "node   core-1  planes  41.0 s up",
    "gate   fabric FAILED: core-1 does not answer",
    "  hint: look at its console",
    "warning: slow mirror",
    "",
  ]);
});

test("plain: progress is said at most every ten seconds", () => {
  const { err, clock, renderer } = setUp(plainRenderer);
  for (clock.seconds = 0; clock.seconds <= 25; clock.seconds += 0.5) renderer.emit(progress(clock.seconds * 1e6));
  expect(err.text().trim().split("\n")).toEqual([
    "...    acquire  10.0 MB of 100 MB",
    "...    acquire  20.0 MB of 100 MB",
  ]);
});

test("quiet shows only what went wrong, verbose shows stages that start or are cached", () => {
  const events: EventBody[] = [
    { type: "stage.started", stage: "a", id: "1" },
    { type: "stage.cached", stage: "b", id: "2" },
    { type: "stage.failed", stage: "a", id: "1", message: "no space" },
    { type: "log", level: "info", message: "hello" },
    { type: "log", level: "debug", message: "detail" },
  ];
  const quiet = setUp(plainRenderer, "quiet");
  const verbose = setUp(plainRenderer, "verbose");
  for (const event of events) {
    quiet.renderer.emit(event);
    verbose.renderer.emit(event);
  }
  expect(quiet.err.text()).toBe("failed a: no space\n");
  expect(verbose.err.text()).toBe("start  a 1\ncached b 2\nfailed a: no space\nhello\ndetail\n");
});

test("json: one object a line with a time, then the result", () => {
  const out = fakeTerminal();
  const renderer = jsonRenderer(out, () => 0);
  renderer.emit({ type: "stage.started", stage: "a", id: "1" });
  renderer.result("plan", { data: { stages: 3 }, text: "not shown" });
  renderer.error("plan", new KubedosError("offline", "missing", { hint: "h" }));
  const at = "1970-01-01T00:00:00.000Z";
  expect(
    out
      .text()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown),
  ).toEqual([
    { at, type: "stage.started", stage: "a", id: "1" },
    { at, type: "result", verb: "plan", ok: true, stages: 3 },
    { at, type: "result", verb: "plan", ok: false, error: { code: "offline", message: "missing", hint: "h" } },
  ]);
});

test("terminal: a bar while the stage runs, nothing of it at the end", () => {
  const { out, err, clock, renderer } = setUp(ttyRenderer);
  renderer.emit({ type: "stage.started", stage: "acquire", id: "1" });
  renderer.emit(progress(0));
  clock.seconds = 2;
  renderer.emit(progress(50e6));
  renderer.emit({ type: "log", level: "info", message: "a line above" });
  expect(err.screen()).toEqual([
    "a line above",
    expect.stringMatching(/^acquire {2}━+ {3}50 % {2}50\.0 MB\/100 MB {2}25\.0 MB\/s {2}2\.0 s$/),
    "",
  ]);
  renderer.emit({ type: "stage.done", stage: "acquire", id: "1", seconds: 4 });
  renderer.result("build", { data: {}, text: "result" });
  expect(err.screen()).toEqual(["a line above", "done   acquire  4.0 s", ""]);
  expect(out.text()).toBe("result\n");
});

test("terminal: an error takes the bars away", () => {
  const { err, renderer } = setUp(ttyRenderer);
  renderer.emit({ type: "stage.started", stage: "acquire", id: "1" });
  renderer.error("build", new KubedosError("failed", "mirror gone"));
  expect(err.screen()).toEqual(["error: mirror gone", ""]);
});

test("no bar is ever wider than the window, whatever it holds", () => {
  const bar = fc.record({
    stage: fc.string({ minLength: 1, maxLength: 40 }),
    startedSeconds: fc.constant(0),
    progress: fc.option(
      fc.record({
        done: fc.nat(1e9),
        total: fc.nat(1e9),
        unit: fc.constantFrom("bytes" as const, "items" as const),
        note: fc.option(fc.string(), { nil: undefined }),
      }),
      { nil: undefined },
    ),
  });
  fc.assert(
    fc.property(fc.array(bar, { maxLength: 30 }), fc.integer({ min: 1, max: 200 }), (bars, columns) => {
      const lines = barLines(bars, 5, columns, paintWith(false));
      expect(lines.length).toBeLessThanOrEqual(8);
      for (const line of lines) expect(line.length).toBeLessThan(Math.max(2, columns));
    }),
  );
});

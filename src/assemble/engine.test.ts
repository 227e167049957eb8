import { existsSync } from "node:fs";
import { mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { KubedosError } from "../../shared/error.ts";
import type { EventBody } from "../../shared/events.ts";
import { run } from "../host/run.ts";
import { readAction } from "../store/actions.ts";
import { openStore, type Store } from "../store/store.ts";
import { planStages, runStages, stageId, stageOrder, type Stage } from "./engine.ts";

let directory: string;
let store: Store;
let events: EventBody[];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-engine-"));
  store = await openStore(directory);
  events = [];
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function context(signal = new AbortController().signal) {
  return { emit: (event: EventBody) => void events.push(event), signal, offline: true };
}

/** A stage that writes one output; its runs are counted in `runs`. */
function stage(
  name: string,
  parts: Partial<Stage> & { runs?: string[]; content?: string; wait?: (signal: AbortSignal) => Promise<void> } = {},
): Stage {
  const { runs, content = name, wait, ...rest } = parts;
  return {
    name,
    version: "1",
    options: {},
    inputs: {},
    outputs: ["file"],
    async run(work) {
      runs?.push(name);
      await wait?.(work.signal);
      await writeFile(join(work.out, "file"), content);
      return { from: name };
    },
    ...rest,
  };
}

async function temporaries(): Promise<string[]> {
  return readdir(join(directory, "store", "tmp"));
}

async function leases(): Promise<string[]> {
  return (await readdir(join(directory, "actions")).catch(() => [])).filter((name) => name.includes(".lease"));
}

/** Resolves when `count` parties have come. */
function meeting(count: number) {
  let open = () => {};
  const complete = new Promise<void>((resolve) => (open = resolve));
  return async () => {
    if (--count === 0) open();
    await complete;
  };
}

describe("id", () => {
  const base = () => stage("one", { options: { a: 1, b: { c: 2, d: 3 } }, inputs: { x: { sha256: "0".repeat(64) } } });

  test.each<[string, Partial<Stage>]>([
    ["name", { name: "two" }],
    ["version", { version: "2" }],
    ["an option", { options: { a: 1, b: { c: 2, d: 4 } } }],
    ["one option less", { options: { a: 1 } }],
    ["an input's content", { inputs: { x: { sha256: "1".repeat(64) } } }],
    ["an input's name", { inputs: { y: { sha256: "0".repeat(64) } } }],
    ["outputs", { outputs: ["file", "log"] }],
  ])("changes with %s", (_what, change) => {
    expect(stageId({ ...base(), ...change })).not.toBe(stageId(base()));
  });

  test("changes with what an input is made from, and with which of its outputs is used", () => {
    const user = (input: Stage, output = "file") => stageId(stage("user", { inputs: { x: { stage: input, output } } }));
    expect(user(stage("in", { version: "2" }))).not.toBe(user(stage("in")));
    expect(user(stage("in"), "log")).not.toBe(user(stage("in")));
    expect(user(stage("in"))).toBe(user(stage("in")));
  });

  test("does not change with the order in which options and inputs are written", () => {
    const shuffled = (value: Record<string, unknown>, keys: string[]) =>
      Object.fromEntries(keys.map((key) => [key, value[key]]));
    fc.assert(
      fc.property(
        fc
          .dictionary(fc.string(), fc.jsonValue(), { maxKeys: 6 })
          .chain((options) =>
            fc.tuple(
              fc.constant(options),
              fc.shuffledSubarray(Object.keys(options), { minLength: Object.keys(options).length }),
            ),
          ),
        ([options, keys]) => {
          const other = { outer: shuffled(options, keys), first: 1 };
          expect(stageId(stage("s", { options: other }))).toBe(
            stageId(stage("s", { options: { first: 1, outer: options } })),
          );
        },
      ),
    );
    const [a, b] = [{ sha256: "a".repeat(64) }, { sha256: "b".repeat(64) }];
    expect(stageId(stage("s", { inputs: { a, b } }))).toBe(stageId(stage("s", { inputs: { b, a } })));
  });
});

test("inputs come before users, and each stage once", () => {
  const bottom = stage("bottom");
  const left = stage("left", { inputs: { x: { stage: bottom, output: "file" } } });
  const right = stage("right", { inputs: { x: { stage: bottom, output: "file" } } });
  const top = stage("top", { inputs: { l: { stage: left, output: "file" }, r: { stage: right, output: "file" } } });
  expect(stageOrder([top, left]).map(({ name }) => name)).toEqual(["bottom", "left", "right", "top"]);
});

describe("run", () => {
  test("a shared input runs once; files and values reach its users", async () => {
    const runs: string[] = [];
    const bottom = stage("bottom", { runs, content: "deep" });
    const user = (name: string) =>
      stage(name, {
        inputs: { x: { stage: bottom, output: "file" } },
        async run(work) {
          runs.push(name);
          await writeFile(
            join(work.out, "file"),
            `${await readFile(work.inputs["x"]!, "utf8")} ${work.meta["bottom"]!["from"]}`,
          );
        },
      });
    const [left, right] = [user("left"), user("right")];
    const done = await runStages([left, right], store, context());
    expect(runs.toSorted()).toEqual(["bottom", "left", "right"]);
    expect(await readFile(store.path(done.get(left)!.outputs["file"]!.sha256), "utf8")).toBe("deep bottom");
    expect(await temporaries()).toEqual([]);
    expect(await leases()).toEqual([]);
  });

  test("what is cached is not run, nor what only it needs; plan says so beforehand", async () => {
    const runs: string[] = [];
    const bottom = stage("bottom", { runs });
    const top = stage("top", { runs, inputs: { x: { stage: bottom, output: "file" } } });
    const cached = async () => (await planStages([top], store)).map((item) => [item.stage, item.cached]);
    expect(await cached()).toEqual([
      ["bottom", false],
      ["top", false],
    ]);
    const first = await runStages([top], store, context());
    expect(await cached()).toEqual([
      ["bottom", true],
      ["top", true],
    ]);
    events = [];
    const second = await runStages([top], store, context());
    expect(runs).toEqual(["bottom", "top"]);
    expect(second.get(top)).toEqual(first.get(top));
    expect(events).toEqual([{ type: "stage.cached", stage: "top", id: stageId(top) }]);
    await rm(store.path(first.get(top)!.outputs["file"]!.sha256));
    expect(await cached()).toEqual([
      ["bottom", true],
      ["top", false],
    ]);
  });

  test("a damaged output is noticed and made again", async () => {
    const one = stage("one", { content: "right" });
    const { sha256 } = (await runStages([one], store, context())).get(one)!.outputs["file"]!;
    await rm(store.path(sha256));
    await writeFile(store.path(sha256), "wrong");
    await runStages([one], store, context());
    expect(await readFile(store.path(sha256), "utf8")).toBe("right");
  });

  test("stages that do not need one another run at the same time", async () => {
    const meet = meeting(2);
    const goals = ["a", "b"].map((name) => stage(name, { wait: meet }));
    expect((await runStages(goals, store, context())).size).toBe(2);
  });

  test("two builds at once run a stage once and get the same", async () => {
    const runs: string[] = [];
    const wait = () => new Promise<void>((resolve) => setTimeout(resolve, 300));
    const build = () => {
      const one = stage("one", { runs, wait });
      return runStages([one], store, context()).then((done) => done.get(one));
    };
    const [first, second] = await Promise.all([build(), build()]);
    expect(runs).toEqual(["one"]);
    expect(second).toEqual(first);
  });

  test("the lease of a build that was killed does not stop the next", async () => {
    const one = stage("one");
    await runStages([stage("other")], store, context());
    await writeFile(join(directory, "actions", `${stageId(one)}.lease`), "4194305 1 dead\n");
    expect((await runStages([one], store, context())).size).toBe(1);
  });
});

describe("failure", () => {
  const patient = (signal: AbortSignal) =>
    new Promise<void>((_, reject) =>
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true }),
    );

  test("the first error is thrown, cancels the others and leaves nothing", async () => {
    const meet = meeting(2);
    const bad = stage("bad", {
      async wait() {
        await meet();
        throw new KubedosError("failed", "broken tool");
      },
    });
    const slow = stage("slow", { wait: (signal) => meet().then(() => patient(signal)) });
    const top = stage("top", { inputs: { b: { stage: bad, output: "file" }, s: { stage: slow, output: "file" } } });
    await expect(runStages([top], store, context())).rejects.toThrow("broken tool");
    expect(events.filter(({ type }) => type === "stage.failed")).toMatchObject([
      { stage: "bad", message: "broken tool" },
    ]);
    expect(await temporaries()).toEqual([]);
    expect(await leases()).toEqual([]);
    expect(await readAction(store, stageId(slow))).toBeUndefined();
  });

  test("an output that the stage did not write is an error", async () => {
    const one = stage("one", { outputs: ["file", "log"] });
    await expect(runStages([one], store, context())).rejects.toThrow("log");
    expect(await readAction(store, stageId(one))).toBeUndefined();
    expect(await temporaries()).toEqual([]);
  });

  test("abort in the middle leaves nothing; run again, it is made", async () => {
    const abort = new AbortController();
    const bottom = stage("bottom");
    const slow = (wait?: (signal: AbortSignal) => Promise<void>) =>
      stage("slow", { wait, inputs: { x: { stage: bottom, output: "file" } } });
    const stopping = slow((signal) => {
      queueMicrotask(() => abort.abort(new KubedosError("interrupted", "interrupted by SIGINT")));
      return patient(signal);
    });
    await expect(runStages([stopping], store, context(abort.signal))).rejects.toMatchObject({ code: "interrupted" });
    expect(events.some(({ type }) => type === "stage.failed")).toBe(false);
    expect(await temporaries()).toEqual([]);
    expect(await leases()).toEqual([]);
    const again = slow();
    const done = await runStages([again], store, context());
    expect(existsSync(store.path(done.get(again)!.outputs["file"]!.sha256))).toBe(true);
  });

  test("an aborted run starts nothing", async () => {
    const runs: string[] = [];
    const signal = AbortSignal.abort(new KubedosError("interrupted", "stop"));
    await expect(runStages([stage("one", { runs })], store, context(signal))).rejects.toThrow("stop");
    expect(runs).toEqual([]);
  });

  test("a full disk is named", async () => {
    const one = stage("one", {
      wait: () =>
        Promise.reject(Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" })),
    });
    await expect(runStages([one], store, context())).rejects.toThrow(`the disk is full: ${directory}`);
  });
});

test("two processes that want the same stage run it once", async () => {
  const log = join(directory, "log");
  const script = `
    import { appendFileSync, writeFileSync } from "node:fs";
    import { runStages } from ${JSON.stringify(join(import.meta.dirname, "engine.ts"))};
    import { openStore } from ${JSON.stringify(join(import.meta.dirname, "../store/store.ts"))};
    const store = await openStore(${JSON.stringify(directory)});
    const one = { name: "one", version: "1", options: {}, inputs: {}, outputs: ["file"], async run({ out }) {
      appendFileSync(${JSON.stringify(log)}, "run\\n");
      await new Promise((resolve) => setTimeout(resolve, 500));
      writeFileSync(out + "/file", "made");
    } };
    const done = await runStages([one], store, { emit() {}, signal: new AbortController().signal, offline: true });
    console.log(done.get(one).outputs.file.sha256);`;
  const file = join(directory, "build.mjs");
  await import("esbuild").then(({ build }) =>
    build({
      stdin: { contents: script, resolveDir: import.meta.dirname, loader: "ts" },
      outfile: file,
      bundle: true,
      platform: "node",
      format: "esm",
    }),
  );
  const results = await Promise.all([1, 2, 3].map(() => run(process.execPath, [file], { timeoutMs: 20_000 })));
  expect(new Set(results.map(({ stdout }) => stdout)).size).toBe(1);
  expect(await readFile(log, "utf8")).toBe("run\n");
});

import { createHash } from "node:crypto";
import { mkdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { nameFullDisk } from "../host/disk.ts";
import { takeExclusive } from "../host/lease.ts";
import { type ActionRecord, peekAction, readAction, writeAction } from "../store/actions.ts";
import type { Store } from "../store/store.ts";

/** Where an input of a stage comes from: an object of the store, or an output of another stage. */
export type StageInput = { sha256: string } | { stage: Stage; output: string };

/** What a stage's body works with. */
export interface StageWork {
  /** Input name → file of the host. */
  inputs: Record<string, string>;
  /** Values that stages passed on beside their files, by input stage name (e.g. the root hash). */
  meta: Record<string, ActionRecord["meta"]>;
  /** Empty directory; each output is a file in it with the output's name. */
  out: string;
  progress: (done: number, total: number, note?: string) => void;
  signal: AbortSignal;
}

/**
 * One pure step of the build: same name, version, options and inputs give the same output bytes. Its id is the sha256
 * of these, and is the key of the action cache.
 */
export interface Stage {
  name: string;
  /** Changes whenever the same inputs would give other bytes: hashes of the scripts and tools it runs. */
  version: string;
  options: Record<string, unknown>;
  inputs: Record<string, StageInput>;
  outputs: readonly string[];
  /** Returns values for later stages. */
  run(work: StageWork): Promise<ActionRecord["meta"] | void>;
}

const ids = new WeakMap<Stage, string>();

/** sha256 of what determines the stage's output. Known without running anything. */
export function stageId(stage: Stage): string {
  const known = ids.get(stage);
  if (known !== undefined) return known;
  const inputs = Object.entries(stage.inputs)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, input]) => [name, "sha256" in input ? input.sha256 : [stageId(input.stage), input.output]]);
  const id = createHash("sha256")
    .update(JSON.stringify([stage.name, stage.version, sortKeys(stage.options), inputs, stage.outputs]))
    .digest("hex");
  ids.set(stage, id);
  return id;
}

/** The same value with the keys of every object in order: how options were written down must not change an id. */
function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sortKeys(item)]));
}

/** All stages that the goals need, inputs before users. */
export function stageOrder(goals: readonly Stage[]): Stage[] {
  const order = new Set<Stage>();
  const visit = (stage: Stage) => {
    if (order.has(stage)) return;
    for (const input of Object.values(stage.inputs)) if ("stage" in input) visit(input.stage);
    order.add(stage);
  };
  goals.forEach(visit);
  return [...order];
}

export interface PlannedStage {
  stage: string;
  id: string;
  cached: boolean;
}

/** What `runStages` would do: every stage, in order, and whether its output is in the cache. */
export async function planStages(goals: readonly Stage[], store: Store): Promise<PlannedStage[]> {
  return Promise.all(
    stageOrder(goals).map(async (stage) => {
      const id = stageId(stage);
      return { stage: stage.name, id, cached: (await peekAction(store, id)) !== undefined };
    }),
  );
}

/**
 * Brings every goal's output into the store. Stages run as soon as their inputs are there; a stage whose output is
 * cached is not run, nor what only it needs. Two processes that want the same stage run it once. On abort or error
 * nothing half-made remains.
 */
export async function runStages(
  goals: readonly Stage[],
  store: Store,
  context: RunContext,
): Promise<Map<Stage, ActionRecord>> {
  const running = new Map<Stage, Promise<ActionRecord>>();
  const failure = new AbortController();
  const signal = AbortSignal.any([context.signal, failure.signal]);

  const demand = (stage: Stage): Promise<ActionRecord> => {
    const known = running.get(stage);
    if (known !== undefined) return known;
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    const promise = makeStage(stage, store, { ...context, signal }, demand);
    promise.catch((error: unknown) => failure.abort(error));
    running.set(stage, promise);
    return promise;
  };
  const settled = await Promise.allSettled(goals.map(demand));
  // A stage that failed leaves others behind that still run, or still ask for their inputs.
  for (let known = -1; known !== running.size;) {
    known = running.size;
    await Promise.allSettled(running.values());
  }
  if (failure.signal.aborted) throw failure.signal.reason;
  const done = new Map<Stage, ActionRecord>();
  settled.forEach((result, index) => {
    if (result.status === "rejected") throw result.reason;
    done.set(goals[index] as Stage, result.value);
  });
  return done;
}

async function makeStage(
  stage: Stage,
  store: Store,
  context: RunContext,
  demand: (stage: Stage) => Promise<ActionRecord>,
): Promise<ActionRecord> {
  const id = stageId(stage);
  const cached = await readAction(store, id);
  if (cached !== undefined) {
    context.emit({ type: "stage.cached", stage: stage.name, id });
    return cached;
  }
  // 1. Inputs, all of them at once.
  const inputs: Record<string, string> = {};
  const meta: Record<string, ActionRecord["meta"]> = {};
  await Promise.all(
    Object.entries(stage.inputs).map(async ([name, input]) => {
      if ("sha256" in input) {
        inputs[name] = store.path(input.sha256);
        return;
      }
      const action = await demand(input.stage);
      inputs[name] = store.path(action.outputs[input.output]!.sha256);
      meta[input.stage.name] = action.meta;
    }),
  );
  // 2. Only one process makes it; another one that waited finds it made.
  const out = `${await store.temporary()}.stage`;
  const lease = await takeExclusive(join(store.directory, "actions", `${id}.lease`), context.signal, (pid) =>
    context.emit({ type: "log", level: "info", message: `${stage.name}: waiting for process ${pid}, which builds it` }),
  );
  try {
    const made = await readAction(store, id);
    if (made !== undefined) return made;
    // 3. Make it in a directory of its own, then publish.
    await mkdir(out, { recursive: true });
    const elapsed = stopwatch();
    context.emit({ type: "stage.started", stage: stage.name, id });
    const values = await stage.run({
      inputs,
      meta,
      out,
      signal: context.signal,
      progress: (done, total, note) =>
        context.emit({ type: "stage.progress", stage: stage.name, done, total, unit: "items", note }),
    });
    context.signal.throwIfAborted();
    const action: ActionRecord = { outputs: {}, meta: values ?? {} };
    let sizeBytes = 0;
    for (const output of stage.outputs) {
      const file = join(out, output);
      sizeBytes += (await stat(file)).size;
      action.outputs[output] = await store.putFile(file);
    }
    await writeAction(store, id, action);
    context.emit({ type: "stage.done", stage: stage.name, id, seconds: elapsed(), sizeBytes });
    return action;
  } catch (thrown) {
    const error = await nameFullDisk(thrown, store.directory);
    // Cancelled is not failed: the stage that did fail, or Ctrl-C, is what there is to say.
    if (!context.signal.aborted) {
      const message = error instanceof Error ? error.message : String(error);
      context.emit({ type: "stage.failed", stage: stage.name, id, message });
    }
    throw error;
  } finally {
    await rm(out, { recursive: true, force: true });
    await lease.release();
  }
}

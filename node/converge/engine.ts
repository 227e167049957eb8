import { createHash, randomBytes } from "node:crypto";
import { appendFileSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ClusterLayer, LayerNode } from "../../shared/cluster-layer.ts";
import {
  automationPaths,
  type ConvergenceStage,
  type ConvergenceState,
  type ConvergeRequest,
} from "../../shared/convergence.ts";
import type { ConvergeFailure, EventBody } from "../../shared/events.ts";
import { transitHub } from "../../shared/render/peers.ts";
import { messageOf } from "../agent/text.ts";
import { callTheRoll } from "./fabric.ts";
import { isWanted, runGraph, type StageEnd } from "./graph.ts";
import { runPlaybook } from "./playbook.ts";
import { freshStage, newState, prepareRunDirectory, readState, writeState } from "./state.ts";

/** Ansible takes a core and about 80 MB for each playbook. */
const stagesAtOnce = 2;
/** A node that was there before has had its time to come. */
const rollAgainSeconds = 30;
const defaultNodeTimeoutSeconds = 300;

/** What the engine works with. */
export interface Engine {
  layer: ClusterLayer;
  self: LayerNode;
  /** What the operator asks for; absent at boot. */
  request?: ConvergeRequest;
  signal: AbortSignal;
}

export type Outcome = ConvergenceState["run"]["outcome"];

/**
 * One run along the graph, or the rest of one that was killed. Its state is on disk after every step, so that it can be
 * killed at any moment; its events go to a file that the agent passes on.
 */
export async function converge(engine: Engine): Promise<Outcome> {
  const { layer, self, request, signal } = engine;
  const begin = Date.now();
  const state = openState(engine);
  const { id, options } = state.run;
  /** Why the state cannot be written; then nothing more is begun. */
  let unsaved: string | undefined;
  let directory = "";
  try {
    directory = prepareRunDirectory(automationPaths.state, id);
  } catch (error) {
    unsaved = messageOf(error);
  }
  const instances = new Map<string, string>();
  const chosen = layer.nodes.filter(({ name }) => options.limit === undefined || options.limit.includes(name));
  const earlierSeconds = state.run.seconds;

  /** A run that only looks, or does some tasks of many, neither trusts nor leaves marks. */
  const partial = options.check === true || options.tags !== undefined;

  function marksOf(stage: ConvergenceStage): Record<string, string> {
    return (state.marks[stage.name] ??= {});
  }
  /** Seconds of the run, those before it was killed included, at a time of the node's clock in milliseconds. */
  function sinceBegin(atMs: number): number {
    return Number((earlierSeconds + (atMs - begin) / 1000).toFixed(3));
  }
  function start(stage: ConvergenceStage): number {
    const now = Date.now();
    const startedAt = new Date(now).toISOString();
    enter(stage, { ...freshStage(), status: "running", startedAt, startSeconds: sinceBegin(now) });
    return now;
  }
  function save(): void {
    state.run.seconds = sinceBegin(Date.now());
    try {
      writeState(automationPaths.state, state);
    } catch (error) {
      unsaved ??= messageOf(error);
    }
  }
  function lose(node: string, reason: string): void {
    instances.delete(node);
    if (!state.run.lost.some((one) => one.node === node)) state.run.lost.push({ node, reason });
  }

  /** Notes how a stage stands, on disk and in the event log. */
  function enter(stage: ConvergenceStage, change: Partial<ConvergenceState["stages"]["fabric"]>): void {
    const record = Object.assign(state.stages[stage.name], change);
    state.run.changed = Object.values(state.stages).reduce((sum, { changed }) => sum + changed, 0);
    save();
    const { status, startSeconds, seconds, changed, failure } = record;
    emit({ type: "converge.stage", run: id, stage: stage.name, status, startSeconds, seconds, changed, failure });
  }

  async function runStage(stage: ConvergenceStage): Promise<StageEnd> {
    try {
      return await tryStage(stage);
    } catch (error) {
      return finish(stage, 0, { node: self.name, message: messageOf(error) });
    }
  }

  async function tryStage(stage: ConvergenceStage): Promise<StageEnd> {
    if (unsaved !== undefined) throw new Error(unwritten(unsaved));
    if (signal.aborted) return finish(stage, 0, { message: "interrupted" });
    if (!isWanted(stage, layer.features, options)) return skip(stage);
    if (stage.name === "fabric") return runFabric(stage);
    const playbooks = playbooksOf(stage);
    if (playbooks.length === 0) return skip(stage);
    const todo = [...instances.keys()].filter((node) => partial || marksOf(stage)[node] !== instances.get(node));
    if (todo.length === 0) {
      enter(stage, { status: "kept" });
      return "good";
    }
    return runPlaybooks(stage, playbooks, todo);
  }

  function skip(stage: ConvergenceStage): StageEnd {
    enter(stage, { status: "skipped" });
    return "good";
  }

  function finish(stage: ConvergenceStage, seconds: number, failure?: ConvergeFailure): StageEnd {
    const status = failure === undefined ? "done" : signal.aborted ? "interrupted" : "failed";
    enter(stage, { status, seconds, failure });
    return failure === undefined ? "good" : "bad";
  }

  async function runFabric(stage: ConvergenceStage): Promise<StageEnd> {
    const begun = start(stage);
    const first = request === undefined && state.run.resumed === 0;
    const timeout = first ? (layer.convergence?.nodeTimeoutSeconds ?? defaultNodeTimeoutSeconds) : rollAgainSeconds;
    const { nodes } = state.stages.fabric;
    const roll = await callTheRoll(layer, chosen, timeout, signal, (node, seconds) => {
      const startSeconds = sinceBegin(begun);
      nodes[node] = { ok: 1, changed: 0, failed: 0, unreachable: 0, skipped: 0, seconds, startSeconds };
      emit({ type: "converge.node", run: id, stage: stage.name, node, result: nodes[node] });
    });
    for (const [node, instance] of roll.instances) instances.set(node, instance);
    for (const { node, reason } of roll.lost) {
      nodes[node] = { ok: 0, changed: 0, failed: 0, unreachable: 1, skipped: 0, seconds: timeout };
      lose(node, reason);
    }
    const nobody =
      instances.size === 0 ? { message: `no node answered: ${roll.lost[0]?.reason ?? "none asked"}` } : undefined;
    return finish(stage, (Date.now() - begun) / 1000, nobody);
  }

  async function runPlaybooks(
    stage: ConvergenceStage,
    playbooks: readonly string[],
    todo: string[],
  ): Promise<StageEnd> {
    const begun = start(stage);
    const record = state.stages[stage.name];
    let failure: ConvergeFailure | undefined;
    for (const [number, playbook] of playbooks.entries()) {
      const result = await runPlaybook({
        playbook,
        nodes: todo.filter((node) => instances.has(node)),
        tags: options.tags ?? [],
        check: options.check === true,
        timeoutSeconds: timeoutOf(stage),
        directory,
        name: playbooks.length === 1 ? stage.name : `${stage.name}-${number + 1}`,
        signal,
        onLine(line) {
          if (line.event !== "result" || (line.outcome !== "changed" && line.outcome !== "failed")) return;
          const { host: node, task, outcome } = line;
          emit({ type: "converge.task", run: id, stage: stage.name, node, task, outcome });
        },
      });
      for (const [node, one] of Object.entries(result.nodes)) {
        const sum = (record.nodes[node] ??= { ok: 0, changed: 0, failed: 0, unreachable: 0, skipped: 0, seconds: 0 });
        for (const key of ["ok", "changed", "failed", "unreachable", "skipped", "seconds"] as const)
          sum[key] += one[key];
        const at = result.starts.get(node);
        if (at !== undefined) sum.startSeconds ??= sinceBegin(at * 1000);
        record.changed += one.changed;
      }
      for (const { node, reason } of result.lost) lose(node, `${stage.name}: ${reason}`);
      failure = result.failure;
      if (failure !== undefined) break;
    }
    for (const [node, result] of Object.entries(record.nodes)) {
      emit({ type: "converge.node", run: id, stage: stage.name, node, result });
    }
    if (failure === undefined && !partial) mark(stage, todo);
    return finish(stage, (Date.now() - begun) / 1000, failure);
  }

  function mark(stage: ConvergenceStage, nodes: readonly string[]): void {
    for (const node of nodes) {
      const instance = instances.get(node);
      if (instance !== undefined) marksOf(stage)[node] = instance;
    }
  }

  function timeoutOf(stage: ConvergenceStage): number {
    const own = stage.name === "workload" ? layer.convergence?.workloadTimeoutSeconds : undefined;
    return own ?? stage.timeoutSeconds;
  }

  save();
  emit({
    type: "converge.started",
    run: id,
    stages: Object.keys(state.stages),
    nodes: chosen.map(({ name }) => name),
    check: options.check === true,
  });
  function block(stage: ConvergenceStage): void {
    if (isWanted(stage, layer.features, options)) enter(stage, { ...freshStage(), status: "blocked" });
    else skip(stage);
  }
  await runGraph(runStage, block, stagesAtOnce);
  const bad = Object.values(state.stages).some(({ status }) => status === "failed" || status === "blocked");
  if (unsaved !== undefined && !bad) lose(self.name, unwritten(unsaved));
  state.run.outcome = signal.aborted ? "interrupted" : bad || state.run.lost.length > 0 ? "failed" : "passed";
  save();
  const { outcome, seconds, changed, lost } = state.run;
  emit({ type: "converge.done", run: id, outcome, seconds, changed, lost });
  return outcome;
}

function unwritten(reason: string): string {
  return `the state of the run cannot be written: ${reason}`;
}

/**
 * The state that a run begins with. Without a request, one that was killed goes on: what it had done on boots of nodes
 * that are still the same is kept. A request does all that it asks for.
 */
function openState({ layer, request }: Engine): ConvergenceState {
  const layerHash = createHash("sha256").update(JSON.stringify(layer)).digest("hex");
  const before = readState(automationPaths.state);
  const same = before?.layer === layerHash ? before : undefined;
  const unfinished = same?.run.outcome === "running" || same?.run.outcome === "interrupted";
  if (request === undefined && same !== undefined && unfinished) {
    same.run.outcome = "running";
    same.run.resumed += 1;
    same.run.lost = [];
    return same;
  }
  const startedAt = new Date().toISOString();
  const options = request?.options ?? {};
  const id = request?.id ?? runId(startedAt);
  const state = newState(layerHash, { id, options, startedAt }, same);
  // A request that is killed half-way goes on with what it has not done, not with what was never done.
  if (request !== undefined && options.check !== true && options.tags === undefined)
    state.marks = forget(state, options.limit);
  return state;
}

function forget({ marks }: ConvergenceState, limit: readonly string[] | undefined): ConvergenceState["marks"] {
  if (limit === undefined) return {};
  const kept = Object.entries(marks).map(([stage, nodes]) => [
    stage,
    Object.fromEntries(Object.entries(nodes).filter(([node]) => !limit.includes(node))),
  ]);
  return Object.fromEntries(kept) as ConvergenceState["marks"];
}

/** Sorts by time. */
export function runId(at: string): string {
  return `${at.replaceAll(/[-:]|\.\d+Z$/g, "")}-${randomBytes(3).toString("hex")}`;
}

/** The platform's playbook of a stage; the user's own in `workload`. */
function playbooksOf(stage: ConvergenceStage): string[] {
  const candidates =
    stage.name === "workload"
      ? [automationPaths.layerContent, automationPaths.hubContent].map((directory) => join(directory, "site.yml"))
      : [join(automationPaths.platform, "playbooks", `${stage.name}.yml`)];
  return candidates.filter((file) => existsSync(file));
}

/** Whether this hub is the one that drives the nodes by itself. */
export function leads({ layer, self }: Pick<Engine, "layer" | "self">): boolean {
  return transitHub(layer)?.name === self.name;
}

/** Takes the request that is waiting, if any. */
export function readRequest(text: string | undefined): ConvergeRequest | undefined {
  return text === undefined ? undefined : (JSON.parse(text) as ConvergeRequest);
}

function emit(body: EventBody): void {
  mkdirSync(automationPaths.run, { recursive: true });
  const line = `${JSON.stringify({ at: new Date().toISOString(), ...body })}\n`;
  appendFileSync(join(automationPaths.run, "events.jsonl"), line);
  process.stdout.write(line);
}

export function requestFile(): string {
  return join(automationPaths.run, "request.json");
}

export function readOptional(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

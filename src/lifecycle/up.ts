import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { KubedosError } from "../../shared/error.ts";
import type { Emit, EventBody } from "../../shared/events.ts";
import { transitHub } from "../../shared/render/peers.ts";
import { openFoundry } from "../assemble/foundry.ts";
import type { Shell } from "../converge/gates/types.ts";
import { runGates } from "../converge/acceptance.ts";
import { convergenceHub } from "../converge/hub.ts";
import { observe, waitForFabric } from "../converge/observe.ts";
import { writeReport, type Report } from "../converge/report.ts";
import { convergenceError } from "../converge/text.ts";
import { waitForConvergence } from "../converge/wait.ts";
import { waitForServices } from "../converge/settle.ts";
import { nowMs, stopwatch } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import type { SpecPaths } from "../host/paths.ts";
import type { Store } from "../store/store.ts";
import type { Lab, NodeSeed, Substrate } from "../substrates/types.ts";
import { build, type BuildResult } from "./build.ts";
import type { BuildInputs } from "./graph.ts";
import { placeDarksite, placeLayer, placeSealed, settleOtherArtifacts } from "./place.ts";
import { writeRun } from "./run-state.ts";
import { extractTree } from "./tree.ts";

/** Time for services to start once the planes are up: first boots make the state partition meanwhile. */
const servicesMs = 120_000;

/** What `up` works with. */
export interface UpInputs {
  build: BuildInputs;
  layer: ClusterLayer;
  paths: SpecPaths;
  store: Store;
  substrate: Substrate;
  /** Makes one node's seed, when its machine is made. */
  seed(node: string): NodeSeed | Promise<NodeSeed>;
  /** Lets nodes join that make their keys themselves; absent: all keys are known beforehand. */
  enroll?(lost: readonly string[], context: RunContext): Promise<void>;
  /** Brings up the operator's own peer on the control plane. */
  connect(lab: Lab, context: RunContext): Promise<void>;
  /** Runs a command on a node as the operator. */
  shell: Shell;
}

export interface UpResult {
  report: Report;
  reportFile: string;
}

/**
 * Spec to running, proven cluster: build, machines, planes, gates, report. Run again it goes on where it stopped: what
 * is built is cached, a machine that runs is left alone.
 */
export async function up(inputs: UpInputs, context: RunContext): Promise<UpResult> {
  const { paths, substrate, store } = inputs;
  const { spec } = inputs.build;
  const total = stopwatch();
  const startedAt = new Date(nowMs()).toISOString();
  await requireSubstrate(substrate);

  // 1. Manufacture.
  const stages: Report["stages"] = [];
  const building = { ...context, emit: recordStages(context.emit, stages) };
  const built = await build(inputs.build, paths, store, building);
  const lab = await placeArtifacts(inputs, built, building);

  // 2. Network and machines.
  const boot = stopwatch();
  await substrate.prepare(lab, context);
  await writeRun(paths, {
    spec: spec.metadata.name,
    substrate: substrate.name,
    rootHash: built.rootHash,
    artifacts: lab.artifacts,
  });
  const earlier = await endedBefore(substrate, lab, context);
  const observer = observe(substrate, lab, context);
  for (const node of spec.nodes) {
    context.signal.throwIfAborted();
    await substrate.start(lab, node, await inputs.seed(node.name), context);
  }

  // 3. Planes: the nodes do this by themselves.
  const lost = await waitForFabric(observer, substrate, lab, spec.acceptance.bootTimeoutSeconds, context);
  const bootSeconds = boot();
  await inputs.connect(lab, context);
  await inputs.enroll?.(
    lost.map(({ node }) => node),
    context,
  );

  // 4. Convergence: the hub does this by itself, with the nodes that have come.
  const hub = inputs.layer.features.includes("ansible") ? transitHub(inputs.layer)?.name : undefined;
  const converging = stopwatch();
  const leads = hub !== undefined && !lost.some(({ node }) => node === hub);
  const first = leads ? await waitForConvergence(hub, observer, substrate, lab, context) : undefined;
  // A run that had ended before knows nothing of nodes that have come since.
  const outdated = first !== undefined && first.run === earlier.run && (first.outcome !== "passed" || !earlier.allRan);
  const convergence = outdated ? await convergenceHub(inputs).converge({}, context) : first;
  const convergenceSeconds = converging();

  // 5. Gates and report.
  const gating = stopwatch();
  const { layer } = inputs;
  const proven = {
    spec,
    layer,
    rootHash: built.rootHash,
    sealedSubstrate: substrate.sealed,
    observer,
    convergence:
      hub === undefined ? undefined : { first: convergence, again: () => convergenceHub(inputs).converge({}, context) },
    shell: inputs.shell,
    signal: context.signal,
  };
  if (lost.length === 0) await waitForServices(proven, servicesMs, context);
  const gates = await runGates(proven, context);
  const report: Report = {
    format: 1,
    cluster: spec.metadata.name,
    substrate: substrate.name,
    sealed: substrate.sealed,
    startedAt,
    passed:
      lost.length === 0 &&
      (convergence?.outcome ?? "passed") === "passed" &&
      gates.length > 0 &&
      gates.every((gate) => gate.passed),
    rootHash: built.rootHash,
    artifacts: built.artifacts,
    stages,
    timings: {
      build: built.seconds,
      boot: bootSeconds,
      ...(convergence === undefined ? {} : { convergence: convergenceSeconds }),
      gates: gating(),
      total: total(),
    },
    nodes: observer.nodes().map((node) => ({
      node: node.node,
      roles: spec.nodes.find((item) => item.name === node.node)?.roles ?? [],
      phase: node.phase,
      reachedSeconds: node.reachedSeconds,
      problem: lost.find((item) => item.node === node.node)?.reason,
    })),
    convergence,
    gates,
  };
  const reportFile = await writeReport(paths.state, report);
  if (lost.length > 0) throw nodesLost(lost, reportFile);
  if (convergence !== undefined && convergence.outcome !== "passed") throw convergenceError(convergence, reportFile);
  if (!report.passed) {
    const names = gates.filter((gate) => !gate.passed).map((gate) => gate.gate);
    if (gates.length === 0) {
      throw new KubedosError("gate", "the machines run, but there is no gate that could prove it", {
        hint: "add a node, or write `substrate: { name: qemu }`: then gates can be checked",
      });
    }
    throw new KubedosError("gate", `gates not met: ${names.join(", ")}`, { hint: `the evidence is in ${reportFile}` });
  }
  return { report, reportFile };
}

async function requireSubstrate(substrate: Substrate): Promise<void> {
  const missing = await substrate.missing();
  if (missing.length === 0) return;
  throw new KubedosError("failed", `this host cannot run ${substrate.name} machines`, {
    hint: "`kubedos doctor` shows everything that is missing",
    problems: missing.map(({ what, hint }) => ({ message: what, hint })),
  });
}

/** The convergence that had ended when `up` began, and whether all machines ran then. */
async function endedBefore(substrate: Substrate, lab: Lab, context: RunContext) {
  const machines = await substrate.status(lab);
  const running = machines.filter(({ state }) => state === "running").length;
  // Starting a machine begins a new log: what follows the nodes must not have read the old one.
  const before = observe(substrate, lab, { ...context, emit: () => undefined });
  await before.poll();
  const progress = before.convergence();
  const ended = progress !== undefined && progress.outcome !== "running";
  return { run: ended ? progress.run : undefined, allRan: running === lab.spec.nodes.length };
}

/** Remembers what each stage took, for the report. */
function recordStages(emit: Emit, stages: Report["stages"]): Emit {
  return (event: EventBody) => {
    if (event.type === "stage.done") stages.push({ stage: event.stage, seconds: event.seconds, cached: false });
    if (event.type === "stage.cached") stages.push({ stage: event.stage, seconds: 0, cached: true });
    emit(event);
  };
}

async function placeArtifacts(inputs: UpInputs, built: BuildResult, context: RunContext): Promise<Lab> {
  const { paths, store, substrate, build: made } = inputs;
  const base = { spec: made.spec, paths };
  const hash = substrate.sealed ? built.image.sha256 : built.root.sha256;
  await settleOtherArtifacts(substrate, base, hash, context);
  const layer = await placeLayer(paths, made.layer);
  const darksite = await placeDarksite(paths, built);
  if (substrate.sealed) return { ...base, artifacts: { hash, layer, darksite, ...(await placeSealed(paths, built)) } };
  const foundry = await openFoundry(made.lock, store, context);
  const tree = await extractTree(foundry, store, built.root, made.lock.epoch, context);
  return { ...base, artifacts: { hash, layer, darksite, tree } };
}

function nodesLost(lost: readonly { node: string; reason: string }[], reportFile: string): KubedosError {
  return new KubedosError("gate", `${lost.length} node(s) did not come up`, {
    problems: lost.map(({ node, reason }) => ({
      message: `${node}: ${reason}`,
      hint: `kubedos console ${node} --log shows its console`,
    })),
    hint: `the report is in ${reportFile}`,
  });
}

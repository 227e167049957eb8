import type { ClusterLayer, LayerPlane } from "../../shared/cluster-layer.ts";
import { stagesOf, type ConvergenceStage } from "../../shared/convergence.ts";
import { planStages, type PlannedStage } from "../assemble/engine.ts";
import { buildObjects } from "../lock/objects.ts";
import { substrates } from "../substrates/registry.ts";
import { buildGraph } from "./graph.ts";
import type { Project } from "./project.ts";

/** What build and up would do, in order. */
export interface Plan {
  cluster: string;
  /** Packages and other inputs that are not in the store yet, and their size in bytes. */
  fetch: { packages: number; bytes: number };
  stages: PlannedStage[];
  machines: { node: string; action: "start" | "keep" | "none" }[];
  /** What the hub will do once the nodes are there; empty where the platform has no Ansible. */
  convergence: Pick<ConvergenceStage, "name" | "summary" | "needs" | "inputs" | "outputs" | "again" | "destroys">[];
  gates: string[];
  planes: { plane: string; topology: string; peersPerNode: number; configurationBytesPerNode: number }[];
}

/** About what one peer costs in a node's configuration: key, address, endpoint. */
const bytesPerPeer = 160;

export async function planProject(project: Project): Promise<Plan> {
  const { spec, lock, store, layer } = project;
  const missing: number[] = [];
  for (const item of buildObjects(lock)) {
    if ((await store.size(item.sha256)) !== item.sizeBytes) missing.push(item.sizeBytes);
  }
  const running = await substrates[spec.substrate.name].status(project);
  const states = new Map(running.map((machine) => [machine.node, machine.state]));
  return {
    cluster: spec.metadata.name,
    fetch: { packages: missing.length, bytes: missing.reduce((sum, size) => sum + size, 0) },
    stages: await planStages(buildGraph(project.build, store).goals, store),
    machines: spec.nodes.map(({ name }) => ({ node: name, action: states.get(name) === "running" ? "keep" : "start" })),
    convergence: spec.platform.features.includes("ansible") ? plannedStages(project) : [],
    gates: spec.acceptance.gates,
    planes: layer.planes.map((plane) => planeCost(layer, plane)),
  };
}

/** The user's own stage only where there is something of the user's. */
function plannedStages({ spec, build }: Project): Plan["convergence"] {
  const own = build.layer.some(({ path }) => path.startsWith("ansible/"));
  return stagesOf(spec.platform.features)
    .filter(({ name }) => name !== "workload" || own)
    .map(({ name, summary, needs, inputs, outputs, again, destroys }) => {
      return { name, summary, needs, inputs, outputs, again, destroys };
    });
}

function planeCost(layer: ClusterLayer, plane: LayerPlane): Plan["planes"][number] {
  const hubs = layer.nodes.filter((node) => node.roles.includes("hub")).length;
  const peersPerNode = plane.topology === "mesh" ? layer.nodes.length - 1 : hubs;
  return {
    plane: plane.name,
    topology: plane.topology,
    peersPerNode,
    configurationBytesPerNode: peersPerNode * bytesPerPeer,
  };
}

/** The plan for people. */
export function planText(plan: Plan): string {
  const lines = [
    `${plan.cluster}:`,
    plan.fetch.packages === 0
      ? "  fetch    nothing, everything is in the store"
      : `  fetch    ${plan.fetch.packages} packages, ${(plan.fetch.bytes / 1e6).toFixed(1)} MB`,
    ...plan.stages.map(
      (stage) => `  ${stage.cached ? "cached" : "run   "}   ${stage.stage.padEnd(10)} ${stage.id.slice(0, 16)}`,
    ),
    ...summarize(plan.machines),
    ...plan.planes.map(
      (plane) =>
        `  plane    ${plane.plane}, ${plane.topology}: ${plane.peersPerNode} peers, about ${formatSize(plane.configurationBytesPerNode)} on each node`,
    ),
    ...plan.convergence.map(
      ({ name, summary, destroys }) =>
        `  converge ${name}: ${summary}${destroys === "nothing" ? "" : `; may destroy: ${destroys}`}`,
    ),
    ...plan.gates.map((gate) => `  gate     ${gate}`),
  ];
  return lines.join("\n");
}

const mostListed = 20;

function summarize(machines: Plan["machines"]): string[] {
  if (machines.length <= mostListed) return machines.map(({ node, action }) => `  ${action.padEnd(8)} ${node}`);
  const starting = machines.filter(({ action }) => action === "start").length;
  return [`  start    ${starting} machines, ${machines.length - starting} are running`];
}

function formatSize(bytes: number): string {
  return bytes < 10_000 ? `${bytes} bytes` : `${(bytes / 1000).toFixed(0)} kB`;
}

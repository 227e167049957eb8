import type { ConvergeFailure, ConvergeNodeResult, ConvergeStageStatus } from "./events.ts";

/**
 * Convergence: the graph of stages that a hub drives over the control plane once the fabric is up. `plan` shows it, the
 * engine on the hub (node/converge) runs it, and both sides read its state and its events by the types here.
 */

/** Login of Ansible on every node. */
export const automationLogin = "automation";

/** Where things of the convergence are on a hub. */
export const automationPaths = {
  inventory: "/run/kubedos/ansible/inventory.yml",
  groupVars: "/run/kubedos/ansible/group_vars/all.yml",
  knownHosts: "/run/kubedos/ansible/known_hosts",
  authorizedKeys: `/run/kubedos/authorized_keys/${automationLogin}`,
  /** Home of the automation user, in memory: its SSH key (hubs only), connections, scratch files. */
  home: "/run/kubedos-automation",
  /** The platform's own playbooks, roles and ansible.cfg. */
  platform: "/usr/share/kubedos/ansible",
  /** The user's playbooks from the spec directory's `ansible/`, in the cluster layer. */
  layerContent: "/run/kubedos/layer/ansible",
  /** The user's playbooks that were put on the hub by hand. */
  hubContent: "/srv/ansible",
  /** State and logs of the runs. */
  state: "/var/lib/kubedos/converge",
  /** Requests and events of the engine. */
  run: "/run/kubedos-converge",
  /** Random text that a node makes once a boot. */
  instance: "/run/kubedos/instance",
} as const;

export const stageNames = [
  "fabric",
  "enroll",
  "baseline",
  "storage",
  "runtime",
  "data",
  "edge",
  "observability",
  "workload",
  "acceptance",
] as const;
export type ConvergenceStageName = (typeof stageNames)[number];

/** One stage of the graph. What it says of itself is shown by `plan`. */
export interface ConvergenceStage {
  name: ConvergenceStageName;
  summary: string;
  /** Stages that must be done before. */
  needs: readonly ConvergenceStageName[];
  /** What it reads. */
  inputs: string;
  /** What it leaves behind. */
  outputs: string;
  /** What happens when it runs again. */
  again: string;
  /** What it may destroy. */
  destroys: string;
  /** After this time it is ended and has failed. */
  timeoutSeconds: number;
  /** It runs only where the platform has one of these features; absent: always. */
  features?: readonly string[];
}

/** The graph, in an order that respects `needs`. */
export const convergenceStages: readonly ConvergenceStage[] = [
  {
    name: "fabric",
    summary: "every node answers the hub over the control plane",
    needs: [],
    inputs: "cluster layer, the hub's SSH key",
    outputs: "the list of nodes that are there, and which boot of each it is",
    again: "asks again",
    destroys: "nothing",
    timeoutSeconds: 300,
  },
  {
    name: "enroll",
    summary: "the nodes' minions are accepted by the hub's Salt master",
    needs: ["fabric"],
    inputs: "keys from the seeds",
    outputs: "accepted minions with grains and pillar",
    again: "accepted keys stay, nothing is accepted that the spec does not name",
    destroys: "nothing",
    timeoutSeconds: 600,
    features: ["salt"],
  },
  {
    name: "baseline",
    summary: "what every node has, whatever its role",
    needs: ["enroll"],
    inputs: "inventory",
    outputs: "facts about the cluster in /etc/kubedos, a working baseline",
    again: "no change",
    destroys: "nothing",
    timeoutSeconds: 600,
  },
  {
    name: "storage",
    summary: "state partitions and volumes",
    needs: ["baseline"],
    inputs: "inventory, the nodes' disks",
    outputs: "mounted storage below /var/lib",
    again: "no change; a volume that exists is kept",
    destroys: "nothing without policy.allowDestroy",
    timeoutSeconds: 900,
    features: ["zfs", "ceph"],
  },
  {
    name: "runtime",
    summary: "container runtime",
    needs: ["storage"],
    inputs: "inventory",
    outputs: "containerd with its configuration",
    again: "no change; running containers stay",
    destroys: "nothing",
    timeoutSeconds: 600,
    features: ["containerd"],
  },
  {
    name: "data",
    summary: "the cluster's own databases",
    needs: ["storage"],
    inputs: "inventory, certificates from the seeds",
    outputs: "an etcd cluster with quorum",
    again: "no change; members and data stay",
    destroys: "nothing",
    timeoutSeconds: 600,
    features: ["etcd"],
  },
  {
    name: "edge",
    summary: "load balancers and virtual addresses",
    needs: ["baseline"],
    inputs: "inventory",
    outputs: "HAProxy and keepalived on the edge nodes",
    again: "no change; reload only where a file has changed",
    destroys: "nothing",
    timeoutSeconds: 600,
    features: ["edge"],
  },
  {
    name: "observability",
    summary: "metrics, alerts and the nodes' journals",
    needs: ["baseline"],
    inputs: "inventory, certificates from the seeds",
    outputs: "Prometheus, Alertmanager and the journal receiver on the hubs",
    again: "no change; collected data stays",
    destroys: "nothing",
    timeoutSeconds: 600,
    features: ["observability", "journal", "ebpf"],
  },
  {
    name: "workload",
    summary: "the playbooks of the spec's ansible/ and of /srv/ansible on the hub",
    needs: ["runtime", "data", "edge", "observability"],
    inputs: "inventory, site.yml of the user",
    outputs: "what the user's playbooks say",
    again: "what the user's playbooks say",
    destroys: "what the user's playbooks say",
    timeoutSeconds: 1800,
  },
  {
    name: "acceptance",
    summary: "every node says of itself that it is in order",
    needs: ["workload"],
    inputs: "the nodes",
    outputs: "nothing: it only looks",
    again: "no change",
    destroys: "nothing",
    timeoutSeconds: 300,
  },
];

/** The stages that a platform with these features runs. */
export function stagesOf(features: readonly string[]): ConvergenceStage[] {
  return convergenceStages.filter((stage) => stage.features?.some((feature) => features.includes(feature)) ?? true);
}

/** What a run is asked to do; absent means everything. */
export interface ConvergeOptions {
  /** Leaves out the stages before this one in the list, the fabric excepted. */
  from?: ConvergenceStageName;
  /** Only these nodes. */
  limit?: string[];
  /** Only tasks with one of these tags. */
  tags?: string[];
  /** Says what would change, and changes nothing. */
  check?: boolean;
}

/** What the operator's side asks the hub for: one file, `request.json`. */
export interface ConvergeRequest {
  id: string;
  options: ConvergeOptions;
}

export interface StageState {
  status: ConvergeStageStatus;
  /** ISO 8601, UTC. */
  startedAt?: string;
  /** The same, since the begin of the run. */
  startSeconds?: number;
  seconds?: number;
  /** Tasks that changed something, over all nodes. */
  changed: number;
  failure?: ConvergeFailure;
  nodes: Record<string, ConvergeNodeResult>;
}

export interface LostNode {
  node: string;
  reason: string;
}

/** What the hub keeps on its disk: how the last run stands, and what has been done to which boot of each node. */
export interface ConvergenceState {
  format: 1;
  /** sha256 of the cluster layer that was converged to, hex. */
  layer: string;
  run: {
    id: string;
    options: ConvergeOptions;
    outcome: "running" | "passed" | "failed" | "interrupted";
    startedAt: string;
    seconds: number;
    changed: number;
    lost: LostNode[];
    /** How often it went on after the hub or the engine had died. */
    resumed: number;
  };
  stages: Record<ConvergenceStageName, StageState>;
  /** Node → the boot that a stage was last done on. */
  marks: Partial<Record<ConvergenceStageName, Record<string, string>>>;
}

import type { FeatureName } from "./types.ts";

/** Features that each feature cannot work without. A feature's folder names the same (`needs`). */
export const featureNeeds = {
  base: [],
  kernel: ["base"],
  planes: ["base", "kernel"],
  firewall: ["base", "planes"],
  ssh: ["base", "planes", "firewall"],
  time: ["base", "planes", "firewall"],
  agent: ["base", "planes", "firewall"],
  "node-metrics": ["base", "planes", "firewall"],
  ansible: ["base", "planes", "firewall", "agent", "ssh"],
  etcd: ["base", "planes", "firewall", "agent", "time"],
  containerd: ["base", "kernel"],
  edge: ["base", "planes", "firewall", "agent"],
  observability: ["base", "planes", "firewall", "agent", "node-metrics"],
  journal: ["base", "planes", "firewall", "agent", "time"],
  ebpf: ["base", "planes", "firewall", "agent", "kernel"],
  security: ["base", "kernel"],
  salt: ["base", "planes", "firewall", "agent"],
  repository: ["base", "planes", "firewall", "agent"],
} as const satisfies Record<FeatureName, readonly FeatureName[]>;

/** Features that make a node a node of this system: planes, default-deny, events. No spec can leave them out. */
export const requiredFeatures = ["base", "kernel", "planes", "firewall", "agent"] as const satisfies FeatureName[];

import type { Spec } from "../../src/spec/types.ts";

/** A checked spec of three nodes with every feature. Nothing in it is random. */
export function fakeSpec(platform: Partial<Spec["platform"]> = {}): Spec {
  return {
    apiVersion: "kubedos/v1",
    metadata: { name: "example" },
    platform: {
      suite: "trixie",
      repository: { mode: "connected", profile: "base+updates" },
      mirror: [],
      kernel: "cloud",
      kernels: [platform.kernel ?? "cloud"],
      state: "encrypted",
      features: ["base", "kernel", "planes", "ssh", "firewall", "time", "agent", "node-metrics", "repository"],
      packages: [],
      python: [],
      security: { usbStorage: true, lockModules: true },
      blobs: [],
      images: [],
      sources: [],
      files: [],
      ...platform,
    },
    underlay: { mode: "static", cidr: "10.100.0.0/24", dns: [], mtu: 1500 },
    planes: (["control", "observability", "backend"] as const).map((purpose, i) => ({
      name: `wg${i + 1}`,
      purpose,
      cidr: `10.${101 + i}.0.0/24`,
      port: 51821 + i,
      mtu: 1420,
      topology: "mesh",
      keepaliveSeconds: 25,
    })),
    kubernetes: { podCidr: "10.244.0.0/16", serviceCidr: "10.96.0.0/12" },
    nodes: (["hub", "core", "worker"] as const).map((role, i) => ({
      name: `${role}-1`,
      index: i + 1,
      roles: [role],
      cpus: 1,
      memoryMiB: 512,
      diskGiB: 2,
      underlay: `10.100.0.${11 + i}`,
      generation: 1,
    })),
    substrate: { name: "qemu" },
    targets: ["raw", "qcow2"],
    install: { disk: {}, wipe: false, repository: false },
    trust: { generation: 1, secureBoot: true, certificateDays: 90, revoked: [], operators: [] },
    policy: { allowDestroy: false, openings: [] },
    convergence: { nodeTimeoutSeconds: 300, workloadTimeoutSeconds: 1800 },
    acceptance: { gates: ["fabric", "sealed", "firewall"], bootTimeoutSeconds: 600 },
  };
}

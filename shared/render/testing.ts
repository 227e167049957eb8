import type { ClusterLayer, LayerOpening } from "../cluster-layer.ts";
import { layerFormat } from "../cluster-layer.ts";

export interface ExampleOptions {
  nodes?: number;
  hubs?: number;
  topology?: "mesh" | "hub";
  operators?: number;
  mode?: "static" | "dhcp";
  openings?: LayerOpening[];
  /** Roles of the nodes after the hubs, in order; the others are workers. */
  roles?: string[];
}

/** A cluster layer for tests, with keys that have the right shape and belong to nobody. */
export function exampleLayer(options: ExampleOptions = {}): ClusterLayer {
  const { nodes = 3, hubs = 1, topology = "mesh", operators = 1, mode = "static" } = options;
  const planes = ["control", "observability", "backend"].map((purpose, i) => ({
    name: `wg${i + 1}`,
    purpose,
    cidr: `10.${101 + i}.0.0/16`,
    port: 51821 + i,
    mtu: 1420,
    topology,
    keepaliveSeconds: topology === "hub" ? 25 : 0,
  }));
  return {
    format: layerFormat,
    cluster: "example",
    clusterId: "00112233445566778899aabbccddeeff",
    underlay: { mode, cidr: "10.100.0.0/16", gateway: "10.100.0.1", dns: ["10.100.0.1"], mtu: 1500 },
    planes,
    nodes: Array.from({ length: nodes }, (_, i) => ({
      name: i < hubs ? `hub-${i + 1}` : `${options.roles?.[i - hubs] ?? "worker"}-${i + 1 - hubs}`,
      index: i + 1,
      roles: [i < hubs ? "hub" : (options.roles?.[i - hubs] ?? "worker")],
      underlay: `10.100.${(i + 11) >> 8}.${(i + 11) & 255}`,
      generation: 1,
      keys: planes.map((_plane, p) => fakeKey(1 + i * planes.length + p)),
      hostKey: fakeKey(i),
    })),
    operators: Array.from({ length: operators }, (_, i) => ({
      name: `operator-${i + 1}`,
      plane: "wg1",
      address: `10.101.255.${254 - i}`,
      publicKey: fakeKey(1_000_000 + i),
      sshKey: `ssh-ed25519 ${fakeKey(2_000_000 + i)} operator-${i + 1}`,
    })),
    openings: options.openings ?? [
      { service: "ssh", plane: "wg1", protocol: "tcp", port: 22, from: ["hub", "operators"] },
      { service: "agent", plane: "wg1", protocol: "tcp", port: 7443 },
      { service: "node-metrics", plane: "wg2", protocol: "tcp", port: 9100, from: ["nodes"] },
      { service: "api", plane: "wg3", protocol: "tcp", port: 6443, roles: ["hub"] },
    ],
    features: ["base", "firewall", "planes", "ssh"],
    sysctls: { "vm.swappiness": "1", "kernel.kptr_restrict": "2" },
  };
}

/** 32 bytes that hold a number, as base64. */
function fakeKey(number: number): string {
  const bytes = new Uint8Array(32).fill(7);
  new DataView(bytes.buffer).setUint32(4, number);
  return btoa(String.fromCharCode(...bytes));
}

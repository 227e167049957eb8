import type { AgentRequest, FabricProbe, ListeningSocket, ScanResult, ScanTarget } from "../../shared/agent-api.ts";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import type { NodeFacts } from "../../shared/events.ts";
import type { Observer } from "../../src/converge/observe.ts";

/** A cluster layer of three nodes and two planes; ssh is open on the control plane, metrics for the hub only. */
export function fakeLayer(): ClusterLayer {
  return {
    format: 1,
    cluster: "example",
    clusterId: "0".repeat(32),
    underlay: { mode: "static", cidr: "10.100.0.0/24", dns: [], mtu: 1500 },
    planes: ["control", "observability"].map((purpose, i) => ({
      name: `wg${i + 1}`,
      purpose,
      cidr: `10.${101 + i}.0.0/24`,
      port: 51821 + i,
      mtu: 1420,
      topology: "mesh",
      keepaliveSeconds: 25,
    })),
    nodes: ["hub", "core", "worker"].map((role, i) => ({
      name: `${role}-1`,
      index: i + 1,
      roles: [role],
      underlay: `10.100.0.${11 + i}`,
      generation: 1,
      keys: [],
      hostKey: "",
    })),
    operators: [],
    openings: [
      { service: "ssh", plane: "wg1", protocol: "tcp", port: 22 },
      { service: "metrics", plane: "wg2", protocol: "tcp", port: 9100, from: ["hub"] },
    ],
    features: [],
    sysctls: {},
  };
}

/** What the agents of a fake cluster answer; each may throw. */
export interface FakeAgents {
  facts(node: string): NodeFacts;
  fabric(node: string): FabricProbe;
  listening(node: string): ListeningSocket[];
  /** What a probe from `node` finds; undefined: the answer leaves it out. */
  probe(node: string, target: ScanTarget): ScanResult["outcome"] | undefined;
}

/** Sees a cluster through its fake agents. */
export function fakeObserver(layer: ClusterLayer, agents: FakeAgents): Observer {
  return {
    convergence: () => undefined,
    nodes: () => layer.nodes.map(({ name }) => ({ node: name, phase: "fabric", refused: [], reachedSeconds: {} })),
    poll: async () => undefined,
    async ask(node, request) {
      const asked = request as AgentRequest;
      switch (asked.command) {
        case "enrollment":
          return { accepted: [], waiting: [], rejected: [], denied: [], answering: [] };
        case "facts":
          return agents.facts(node);
        case "fabric":
          return agents.fabric(node);
        case "listening":
          return agents.listening(node);
        case "scan":
          return asked.targets.flatMap((target) => {
            const outcome = agents.probe(node, target);
            return outcome === undefined ? [] : [{ ...target, outcome }];
          });
        case "isolate":
        case "outage":
        case "poweroff":
          throw new Error("no gate over these agents does this");
      }
    },
  };
}

/** Agents of a cluster in which everything is as it should be. */
export function healthyAgents(layer: ClusterLayer, rootHash: string): FakeAgents {
  const roles = (node: string) => layer.nodes.find(({ name }) => name === node)?.roles ?? [];
  return {
    facts: () => ({
      secureBoot: true,
      shim: false,
      setupMode: false,
      lockdown: "integrity",
      tpm: true,
      state: "encrypted",
      rootHash,
      sealed: true,
      uptimeSeconds: 60,
      planes: [],
    }),
    fabric: (node) => ({
      pairs: layer.planes.flatMap((plane) =>
        layer.nodes
          .filter(({ name }) => name !== node)
          .map(({ name }) => ({ plane: plane.name, peer: name, address: "", sent: 3, received: 3, averageMs: 1 })),
      ),
    }),
    listening: () => [
      { protocol: "tcp", address: "0.0.0.0", port: 22 },
      { protocol: "tcp", address: "0.0.0.0", port: 9100 },
      { protocol: "udp", address: "0.0.0.0", port: 51821 },
    ],
    probe(node, { protocol, address, port }) {
      if (protocol === "udp" || address.startsWith("10.100.")) return "silent";
      if (address.startsWith("10.101.") && port === 22) return "open";
      if (address.startsWith("10.102.") && port === 9100 && roles(node).includes("hub")) return "open";
      return "silent";
    },
  };
}

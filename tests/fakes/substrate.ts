import type { AgentRequest } from "../../shared/agent-api.ts";
import type { KubedosEvent } from "../../shared/events.ts";
import type { MachineState, Substrate } from "../../src/substrates/types.ts";

export interface FakeSubstrate extends Substrate {
  /** Adds events to a node's log, as its agent would. */
  say(node: string, ...events: Record<string, unknown>[]): void;
  machines: Record<string, MachineState>;
  /** Called for each request. */
  onRequest: (node: string, request: AgentRequest) => void;
}

/** A substrate without machines: event logs and states are what a test makes them. Offsets count events. */
export function fakeSubstrate(nodes: readonly string[]): FakeSubstrate {
  const logs = new Map<string, KubedosEvent[]>(nodes.map((node) => [node, []]));
  const nothing = () => Promise.resolve();
  const substrate: FakeSubstrate = {
    name: "qemu",
    sealed: true,
    machines: Object.fromEntries(nodes.map((node) => [node, "running"])),
    onRequest: () => undefined,
    say(node, ...events) {
      logs.get(node)!.push(...events.map((event) => ({ at: "2026-01-01T00:00:00Z", node, ...event }) as KubedosEvent));
    },
    missing: async () => [],
    prepare: nothing,
    start: nothing,
    status: async () => nodes.map((node) => ({ node, state: substrate.machines[node]! })),
    async events(_lab, node, offset) {
      const log = logs.get(node)!;
      return { events: log.slice(offset), offset: log.length };
    },
    async request(_lab, node, request) {
      substrate.onRequest(node, request);
    },
    consoleLog: () => "",
    consoleAttachment: async () => ({ socket: "" }),
    stop: nothing,
    destroy: nothing,
  };
  return substrate;
}

import type { FabricProbe } from "../../../shared/agent-api.ts";
import type { Gate, GateCheck } from "./types.ts";

const pings = 3;
const timeoutMs = 60_000;

/** Every pair of nodes answers on every plane, in both directions. */
export const fabricGate: Gate = {
  name: "fabric",
  summary: "every pair of nodes answers on every plane",
  async run({ layer, observer }) {
    const probes = await Promise.all(
      layer.nodes.map(async ({ name }) => {
        try {
          return {
            name,
            probe: (await observer.ask(name, { command: "fabric", count: pings }, timeoutMs)) as FabricProbe,
          };
        } catch (error) {
          return { name, reason: (error as Error).message };
        }
      }),
    );
    return probes.flatMap((result): GateCheck[] => {
      if (result.probe === undefined) {
        return [{ what: `${result.name}: pings`, ok: false, evidence: result.reason ?? "not checked" }];
      }
      const { pairs } = result.probe;
      return layer.planes.flatMap((plane) =>
        layer.nodes
          .filter((peer) => peer.name !== result.name)
          .map((peer) => {
            const pair = pairs.find((item) => item.plane === plane.name && item.peer === peer.name);
            const average = pair?.averageMs;
            return {
              what: `${result.name} to ${peer.name} on ${plane.name}`,
              ok: pair !== undefined && pair.received > 0,
              evidence:
                pair === undefined
                  ? "not probed"
                  : `${pair.received} of ${pair.sent} answered${average === undefined ? "" : `, ${average.toFixed(2)} ms`}`,
            };
          }),
      );
    });
  },
};

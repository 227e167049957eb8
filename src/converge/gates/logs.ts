import { transitHub } from "../../../shared/render/peers.ts";
import { nowMs, stopwatch } from "../../host/clock.ts";
import { poll } from "./poll.ts";
import type { Gate } from "./types.ts";

const limitSeconds = 90;
const journal = "/var/lib/kubedos/journal";

/** A line that is written to a node's journal arrives at the hub, with the node's name. */
export const logsGate: Gate = {
  name: "logs",
  summary: "a line written on every node arrives in the hub's journal",
  async run(context) {
    const { layer, shell } = context;
    const hub = transitHub(layer);
    const senders = layer.nodes.filter((node) => node.name !== hub?.name);
    if (hub === undefined) return [{ what: "receiver", ok: false, evidence: "no node has the role hub" }];
    const mark = `gate-${nowMs()}`;
    const written = await Promise.all(
      senders.map(({ name }) => shell(name, ["logger", "--tag", "kubedos-gate", mark])),
    );
    const elapsed = stopwatch();
    const arrived = await poll(
      context,
      limitSeconds,
      async () => {
        const query = [
          "sudo",
          "journalctl",
          `--directory=${journal}`,
          "--output=json",
          "--output-fields=MESSAGE,_HOSTNAME",
        ];
        const { stdout } = await shell(hub.name, [...query, `MESSAGE=${mark}`]);
        const entries = stdout
          .split("\n")
          .flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as unknown] : []));
        return new Set(entries.map((entry) => (entry as Record<string, string>)["_HOSTNAME"]));
      },
      (hosts) => senders.every(({ name }) => hosts.has(name)),
    );
    return senders.map(({ name }, i) => ({
      what: `${name} to ${hub.name}`,
      ok: written[i]?.status === 0 && arrived.has(name),
      evidence: arrived.has(name)
        ? `arrived within ${elapsed().toFixed(1)} s`
        : `not there after ${elapsed().toFixed(0)} s`,
    }));
  },
};

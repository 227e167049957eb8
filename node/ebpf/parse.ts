import type { ClusterLayer, LayerNode } from "../../shared/cluster-layer.ts";
import type { TcpRecord } from "../../shared/ebpf.ts";
import { planeAddress } from "../../shared/render/peers.ts";

/** Makes records of bpftrace's output. */
export interface TcpParser {
  /**
   * One line of `bpftrace -f json`.
   *
   * @returns a record; `attached` once the probes are; `noise` for what is left out; a message of bpftrace that a person should see
   */
  parse(line: string, at: Date): TcpRecord | "attached" | "noise" | { message: string };
}

/** include/net/tcp_states.h of the kernel, by number. */
const states = [
  ...["", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT"],
  ...["CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"],
] as const;

/** @param layer names of planes and nodes come from it */
export function tcpParser(layer: ClusterLayer, node: LayerNode): TcpParser {
  const planes = new Map([
    [node.underlay, "underlay"],
    ...layer.planes.map((plane) => [planeAddress(plane, node), plane.name] as const),
  ]);
  const peers = new Map(
    layer.nodes.flatMap((peer) => [
      [peer.underlay, peer.name] as const,
      ...layer.planes.map((plane) => [planeAddress(plane, peer), peer.name] as const),
    ]),
  );

  function ends([local = "", localPort, remote = "", remotePort]: readonly string[], at: Date) {
    const addresses = { local: withoutPrefix(local), remote: withoutPrefix(remote) };
    return {
      at: at.toISOString(),
      node: node.name,
      plane: planes.get(addresses.local),
      local: addresses.local,
      localPort: Number(localPort),
      remote: addresses.remote,
      remotePort: Number(remotePort),
      peer: peers.get(addresses.remote),
    };
  }

  function record(text: string, at: Date): TcpRecord | "noise" {
    const [what, ...words] = text.split(" ");
    const common = ends(words, at);
    if (common.local === common.remote || common.local.startsWith("127.")) return "noise";
    if (what === "retransmit") {
      return { type: "retransmit", ...common, state: states[Number(words[4])] ?? `${words[4]}` };
    }
    const [micros, sent, received, retransmits, roundTrip] = words.slice(4, 9).map(Number);
    const program = words.slice(9).join(" ");
    return {
      type: "flow",
      ...common,
      direction: program === "" ? "in" : "out",
      ...(program === "" ? {} : { program }),
      seconds: micros! / 1e6,
      sentBytes: sent!,
      receivedBytes: received!,
      retransmits: retransmits!,
      roundTripMs: roundTrip! / 1000,
    };
  }

  return {
    parse(line, at) {
      if (line.trim() === "") return "noise";
      let message: { type?: string; data?: unknown; msg?: string };
      try {
        message = JSON.parse(line) as typeof message;
      } catch {
        return { message: line };
      }
      if (message.type === "printf" && typeof message.data === "string") {
        return record(message.data.replace(/\n$/, ""), at);
      }
      if (message.type === "attached_probes") return "attached";
      if (message.type === "lost_events") return { message: `events were lost: ${JSON.stringify(message.data)}` };
      return message.msg === undefined ? "noise" : { message: message.msg };
    },
  };
}

/** An IPv4 address without the prefix that makes it an IPv6 one (RFC 4291, 2.5.5.2). */
function withoutPrefix(address: string): string {
  return address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
}

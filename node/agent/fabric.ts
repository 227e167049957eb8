import type { FabricProbe } from "../../shared/agent-api.ts";
import { KubedosError } from "../../shared/error.ts";
import { arePeers, planeAddress } from "../../shared/render/peers.ts";
import { exec } from "./exec.ts";
import type { Identity } from "./identity.ts";

export interface Pair {
  plane: string;
  peer: string;
  address: string;
}

/** What one address answered: round trips in milliseconds, undefined for each ping without an answer. */
export type Answers = ReadonlyMap<string, readonly (number | undefined)[]>;

const pingTimeoutMs = 1_000;
const pingPeriodMs = 200;

/** Every other node on every plane. `directOnly` leaves out those that are reached through a hub. */
export function pairsOf({ layer, node }: Identity, directOnly: boolean): Pair[] {
  return layer.planes.flatMap((plane) =>
    layer.nodes
      .filter((other) => (directOnly ? arePeers(plane, node, other) : other.name !== node.name))
      .map((other) => ({ plane: plane.name, peer: other.name, address: planeAddress(plane, other) })),
  );
}

/**
 * Pings all addresses at once, each `count` times.
 *
 * @throws KubedosError when fping cannot do its work; an address without an answer is no error
 */
export async function ping(addresses: readonly string[], count: number): Promise<Answers> {
  if (addresses.length === 0) return new Map();
  const args = ["-4", "-q", "-C", String(count), "-p", String(pingPeriodMs), "-t", String(pingTimeoutMs)];
  const timeoutMs = 10_000 + count * (pingPeriodMs + pingTimeoutMs) + addresses.length * count * 20;
  const result = await exec("fping", [...args, "-i", "1"], { input: `${addresses.join("\n")}\n`, timeoutMs });
  // fping(8): 1 = some did not answer; 2 and more = it could not ask.
  if (result.status > 1) {
    throw new KubedosError("failed", `fping exited with status ${result.status}: ${result.stderr.trim()}`);
  }
  return parseFping(result.stderr);
}

/** Lines of `fping -q -C`, e.g. `10.101.0.2 : 0.52 - 0.61`. */
export function parseFping(text: string): Answers {
  const answers = new Map<string, (number | undefined)[]>();
  for (const line of text.split("\n")) {
    const match = /^(\S+)\s+:((?:\s+(?:-|\d+(?:\.\d+)?))+)\s*$/.exec(line);
    if (match === null) continue;
    const times = match[2]!.trim().split(/\s+/);
    answers.set(
      match[1]!,
      times.map((time) => (time === "-" ? undefined : Number(time))),
    );
  }
  return answers;
}

/** The answer to the request `fabric`. */
export async function probeFabric(identity: Identity, count: number): Promise<FabricProbe> {
  const pairs = pairsOf(identity, false);
  const addresses = pairs.map((pair) => pair.address);
  const answers = await ping(addresses, count);
  return {
    pairs: pairs.map((pair) => {
      const received = (answers.get(pair.address) ?? []).filter((time) => time !== undefined);
      const average = received.reduce((sum, time) => sum + time, 0) / received.length;
      return {
        ...pair,
        sent: count,
        received: received.length,
        ...(received.length > 0 && { averageMs: Number(average.toFixed(3)) }),
      };
    }),
  };
}

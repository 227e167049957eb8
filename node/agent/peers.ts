import type { ClusterLayer, LayerNode } from "../../shared/cluster-layer.ts";
import { nodePeers } from "../../shared/render/peers.ts";
import type { EventLog } from "./events.ts";
import { exec } from "./exec.ts";
import type { Identity } from "./identity.ts";
import { wgTable } from "./planes.ts";
import { messageOf, sleep } from "./text.ts";

const everyMs = 30_000;
/** WireGuard makes new keys every two minutes and ends old ones after three, where there is traffic. */
const staleAfterMs = 240_000;

/** One peer of one plane, as it stands in the cluster layer. */
export interface WatchedPeer {
  plane: string;
  name: string;
  publicKey: string;
  endpoint: string;
  keepaliveSeconds: number;
}

/** Nodes that this one keeps a connection to all the time. */
export function watchedPeers(layer: ClusterLayer, node: LayerNode): WatchedPeer[] {
  return layer.planes.flatMap((plane) =>
    nodePeers(layer, plane, node).flatMap(({ name, publicKey, endpoint, keepaliveSeconds }) =>
      endpoint === undefined || keepaliveSeconds === 0
        ? []
        : [{ plane: plane.name, name, publicKey, endpoint, keepaliveSeconds }],
    ),
  );
}

/**
 * Tells which peers had handshakes and have none any more. Looks at how long a peer's time of the last handshake has
 * stood still by a clock that is never set, because the times themselves are worth nothing where a clock was wrong.
 */
export function handshakeWatch(
  peers: readonly WatchedPeer[],
): (handshakes: readonly string[][], elapsedMs: number) => WatchedPeer[] {
  const since = new Map<string, { time: string; elapsedMs: number }>();
  return (handshakes, elapsedMs) => {
    const times = new Map(handshakes.map(([plane, key, time = "0"]) => [`${plane} ${key}`, time]));
    return peers.filter(({ plane, publicKey }) => {
      const id = `${plane} ${publicKey}`;
      const time = times.get(id) ?? "0";
      const known = since.get(id);
      if (known?.time !== time) since.set(id, { time, elapsedMs });
      else if (time !== "0" && elapsedMs - known.elapsedMs >= staleAfterMs) {
        since.set(id, { time, elapsedMs }); // next time after as long again
        return true;
      }
      return false;
    });
  };
}

/**
 * Makes peers that have gone silent anew, as long as the node lives. A WireGuard peer takes no handshake that is dated
 * before the last one: nodes that started with a clock that was ahead, and have had it set back, would not hear each other
 * until that time has come. A peer that is made anew has no memory, and the address that the cluster layer names.
 */
export async function renewSilentPeers({ layer, node }: Identity, log: EventLog): Promise<void> {
  const watch = handshakeWatch(watchedPeers(layer, node));
  for (;;) {
    await sleep(everyMs);
    for (const peer of watch(await wgTable("latest-handshakes"), performance.now())) {
      const message = `${peer.name} is silent on ${peer.plane}`;
      try {
        await renew(peer);
        log.emit({ type: "log", level: "info", message: `${message}: its keys are negotiated anew` });
      } catch (error) {
        log.emit({ type: "log", level: "warn", message: `${message}: ${messageOf(error)}` });
      }
    }
  }
}

async function renew({ plane, publicKey, endpoint, keepaliveSeconds }: WatchedPeer): Promise<void> {
  // As it is now: a virtual address may have come to it.
  const rows = (await wgTable("allowed-ips")).filter(([name, key]) => name === plane && key === publicKey);
  const allowed = rows.flatMap(([, , networks = ""]) => networks.split(" ")).join(",");
  if (allowed === "") return;
  await wgSet(plane, publicKey, "remove");
  const keepalive = String(keepaliveSeconds);
  await wgSet(plane, publicKey, "endpoint", endpoint, "allowed-ips", allowed, "persistent-keepalive", keepalive);
}

async function wgSet(plane: string, publicKey: string, ...words: string[]): Promise<void> {
  const { status, stderr } = await exec("wg", ["set", plane, "peer", publicKey, ...words]);
  if (status !== 0) throw new Error(stderr.trim());
}

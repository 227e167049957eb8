import type { ClusterLayer, LayerNode } from "../../shared/cluster-layer.ts";
import { findNode, nodePeers, planeAddress } from "../../shared/render/peers.ts";
import type { EventLog } from "./events.ts";
import { exec } from "./exec.ts";
import { ping } from "./fabric.ts";
import type { Identity } from "./identity.ts";
import { wgTable } from "./planes.ts";
import { messageOf, sleep } from "./text.ts";

const everyMs = 10_000;
/** A peer that sends keepalives is quiet when one of them is so much late. */
const lateMs = 5_000;
/** Less is chrony's slow correction between two looks. */
const steppedMs = 2_000;
/** Longer than WireGuard itself tries one handshake (90 s). */
const deadAfterMs = 120_000;

/** One peer of one plane, as it stands in the cluster layer. */
export interface WatchedPeer {
  plane: string;
  name: string;
  /** On the plane. */
  address: string;
  publicKey: string;
  endpoint: string;
  keepaliveSeconds: number;
}

/** Nodes that this one hears all the time, because both send keepalives. */
export function watchedPeers(layer: ClusterLayer, node: LayerNode): WatchedPeer[] {
  return layer.planes.flatMap((plane) =>
    nodePeers(layer, plane, node).flatMap(({ name, publicKey, endpoint, keepaliveSeconds }) => {
      if (endpoint === undefined || keepaliveSeconds === 0) return [];
      const address = planeAddress(plane, findNode(layer, name));
      return [{ plane: plane.name, name, address, publicKey, endpoint, keepaliveSeconds }];
    }),
  );
}

/**
 * Tells which peers that were heard are heard no more, from what `wg show all transfer` says at times of a clock that is
 * never set. `dead`: since long; named again after as long again.
 */
export function silenceWatch(
  peers: readonly WatchedPeer[],
): (transfers: readonly string[][], elapsedMs: number) => { quiet: WatchedPeer[]; dead: WatchedPeer[] } {
  const heard = new Map<string, { bytes: string; atMs: number; deadMs: number }>();
  return (transfers, elapsedMs) => {
    const received = new Map(transfers.map(([plane, key, bytes = "0"]) => [`${plane} ${key}`, bytes]));
    const quiet: WatchedPeer[] = [];
    const dead: WatchedPeer[] = [];
    for (const peer of peers) {
      const id = `${peer.plane} ${peer.publicKey}`;
      const bytes = received.get(id) ?? "0";
      const last = heard.get(id);
      // Its count begins anew when it is made anew: that is not a sign of life.
      if (last === undefined || (bytes !== last.bytes && bytes !== "0")) {
        if (bytes !== "0") heard.set(id, { bytes, atMs: elapsedMs, deadMs: elapsedMs });
        continue;
      }
      if (elapsedMs - last.atMs >= peer.keepaliveSeconds * 1000 + lateMs) quiet.push(peer);
      if (elapsedMs - last.deadMs >= deadAfterMs) {
        last.deadMs = elapsedMs;
        dead.push(peer);
      }
    }
    return { quiet, dead };
  };
}

/** Tells whether the clock has been set back since the last call, by a clock that is never set. */
export function stepWatch(): (wallMs: number, elapsedMs: number) => boolean {
  let before: number | undefined;
  return (wallMs, elapsedMs) => {
    const ahead = wallMs - elapsedMs;
    const back = before !== undefined && ahead < before - steppedMs;
    before = ahead;
    return back;
  };
}

/**
 * Wakes peers that have gone silent, as long as the node lives. WireGuard takes no handshake from a peer that is dated
 * before its last one, so a node whose clock has gone back cannot begin one.
 *
 * - It was started anew with a clock that is behind: this node has to begin, and does so for a packet that is not
 *   answered. Keepalives alone would let it wait until the old session ends, up to three minutes.
 * - Both had clocks that were ahead and have had them set back: neither hears the other until that time has come. A peer
 *   that is made anew has no memory, and the address that the cluster layer names. Where this node's own clock is set back,
 *   the others' are likely to be too, by the same hub: its peers are made anew at once.
 */
export async function wakeSilentPeers({ layer, node }: Identity, log: EventLog): Promise<void> {
  const peers = watchedPeers(layer, node);
  const watch = silenceWatch(peers);
  const setBack = stepWatch();
  setBack(Date.now(), performance.now());
  for (;;) {
    await sleep(everyMs);
    const all = setBack(Date.now(), performance.now());
    const { quiet, dead } = watch(await wgTable("transfer"), performance.now());
    for (const peer of all ? peers : dead) {
      const message = all
        ? `the clock was set back: ${peer.name} on ${peer.plane}`
        : `${peer.name} is silent on ${peer.plane}`;
      try {
        await renew(peer);
        log.emit({ type: "log", level: "info", message: `${message}: its keys are negotiated anew` });
      } catch (error) {
        log.emit({ type: "log", level: "warn", message: `${message}: ${messageOf(error)}` });
      }
    }
    const addresses = quiet.map(({ address }) => address);
    if (addresses.length > 0) await ping(addresses, 1).catch(() => undefined); // the packets count, not the answers
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

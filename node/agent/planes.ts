import { networkInterfaces } from "node:os";
import type { PlaneFacts } from "../../shared/events.ts";
import { planeAddress } from "../../shared/render/peers.ts";
import { exec } from "./exec.ts";
import type { Identity } from "./identity.ts";
import { readText } from "./text.ts";
import type { NodePaths } from "./paths.ts";

/** Planes whose interface is not up with its address yet. */
export function missingPlanes({ layer, node }: Identity): string[] {
  const interfaces = networkInterfaces();
  return layer.planes
    .filter((plane) => {
      const address = planeAddress(plane, node);
      return !interfaces[plane.name]?.some((entry) => entry.address === address);
    })
    .map((plane) => plane.name);
}

/**
 * Facts of every plane that is up. Only handshakes and counters are asked for: `wg show dump` would hand over the
 * private keys too.
 */
export async function planeFacts(identity: Identity): Promise<PlaneFacts[]> {
  const { layer, node } = identity;
  const missing = new Set(missingPlanes(identity));
  const handshakes = await wgTable("latest-handshakes");
  const transfers = await wgTable("transfer");
  const now = Math.floor(Date.now() / 1000);
  return layer.planes.flatMap((plane, position) => {
    if (missing.has(plane.name)) return [];
    // Operators come and go; a plane is whole without them.
    const nodeKeys = new Set(layer.nodes.map((other) => other.keys[position]));
    const peers = handshakes.filter(([name, key]) => name === plane.name && nodeKeys.has(key));
    const ages = peers.map(([, , seconds]) => (seconds === "0" ? undefined : Math.max(0, now - Number(seconds))));
    const known = ages.filter((age) => age !== undefined);
    const counters = transfers.filter(([name]) => name === plane.name);
    return {
      name: plane.name,
      address: planeAddress(plane, node),
      peers: peers.length,
      ...(peers.length > 0 && known.length === ages.length && { oldestHandshakeSeconds: Math.max(...known) }),
      receivedBytes: sum(counters.map((fields) => Number(fields[2]))),
      sentBytes: sum(counters.map((fields) => Number(fields[3]))),
    };
  });
}

/** `wg show all …`, wg(8): fields separated by tabs; none where wg cannot tell. */
export async function wgTable(what: "latest-handshakes" | "transfer" | "allowed-ips"): Promise<string[][]> {
  try {
    const { status, stdout } = await exec("wg", ["show", "all", what]);
    if (status !== 0) return [];
    return stdout.split("\n").flatMap((line) => (line === "" ? [] : [line.split("\t")]));
  } catch {
    return [];
  }
}

/**
 * Whether the planes have to be run by wireguard-go. A machine has its own kernel, which has WireGuard; a container
 * has the host's, which is asked for an interface.
 */
export async function needsUserspaceWireguard(container: boolean): Promise<boolean> {
  if (!container) return false;
  const { status } = await exec("ip", ["link", "add", "kdprobe", "type", "wireguard"]);
  if (status === 0) await exec("ip", ["link", "delete", "kdprobe"]);
  return status !== 0;
}

/** Starts wireguard-go for every plane, each a unit of its own that gets only its plane's private key. */
export async function startUserspaceWireguard({ layer }: Identity): Promise<void> {
  const units = layer.planes.map((plane) => `kubedos-wireguard@${plane.name}.service`);
  await exec("systemctl", ["start", "--no-block", ...units]);
}

/** Whether the rendering on disk is for wireguard-go. */
export function renderedForUserspace(paths: NodePaths, { layer }: Identity): boolean {
  const [plane] = layer.planes;
  return plane !== undefined && readText(paths.at(`/run/kubedos/wireguard/${plane.name}.conf`)) !== undefined;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

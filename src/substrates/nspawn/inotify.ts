import { KubedosError } from "../../../shared/error.ts";
import type { HostProbe } from "../../host/probe.ts";
import { inotifyInUse } from "../../host/processes.ts";
import { hasKernelWireguard } from "../requirements.ts";

const limitFile = "/proc/sys/fs/inotify/max_user_instances";
/** systemd and its services in one container; counted on Debian 13's. */
const instancesPerNode = 6;
/** The operator's peer, and other programs that start meanwhile. */
const instancesBeside = 8;

/**
 * All containers share one limit of the host's kernel, inotify(7): systemd holds some instances, each wireguard-go one.
 * Beyond it, services fail one by one with "too many open files", so it is asked for before anything starts.
 *
 * @param nodes how many are to be started
 * @throws KubedosError when the limit is too low for them
 */
export async function requireInotify(host: HostProbe, nodes: number, planes: number): Promise<void> {
  if (nodes === 0) return;
  const limit = Number((await host.text(limitFile))?.trim() ?? Number.NaN);
  if (!Number.isFinite(limit)) return;
  const perNode = instancesPerNode + ((await hasKernelWireguard(host)) ? 0 : planes);
  const needed = (await inotifyInUse()) + nodes * perNode + instancesBeside;
  if (needed <= limit) return;
  const enough = 2 ** Math.ceil(Math.log2(needed * 2));
  throw new KubedosError(
    "failed",
    `the host allows ${limit} inotify instances, ${nodes} containers beside what runs need ${needed}`,
    { hint: `as root: sysctl -w fs.inotify.max_user_instances=${enough}` },
  );
}

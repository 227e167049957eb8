import { renderedPaths } from "../../shared/render/render.ts";

/**
 * Where things are on a node. `at` puts the root in front of an absolute path: "" on a node, a scratch directory
 * when the agent is tried elsewhere (`--root`).
 */
export interface NodePaths {
  at(path: string): string;
  /** The cluster layer, put here by the initrd (qemu) or bound in from the host (nspawn). */
  clusterJson: string;
  /** Directory shared with the host; only there under nspawn. */
  hostDirectory: string;
  /** `dmsetup table` of the verity root, written by kubedos-verity.service. */
  verityTable: string;
  /** Root hash that the initrd mapped, for the case that the table cannot be read. */
  rootHash: string;
  networkd: string;
  /** What /var is, once kubedos-state.service has mounted it. */
  state: string;
  /** Why kubedos-state.service stops the machine. */
  stopped: string;
}

export function nodePaths(root: string): NodePaths {
  function at(path: string): string {
    return `${root}${path}`;
  }
  return {
    at,
    clusterJson: at("/run/kubedos/layer/cluster.json"),
    hostDirectory: at("/run/kubedos/host"),
    verityTable: at("/run/kubedos/verity-table"),
    rootHash: at("/run/kubedos/roothash"),
    networkd: at(renderedPaths.networkd),
    state: at("/run/kubedos/state"),
    stopped: at("/run/kubedos/stopped"),
  };
}

import type { Finding } from "../finding.ts";
import { type Constraint, nodeName, nodePath } from "./types.ts";

/** A disk that may be wiped is named by something; sizes leave room. */
export const installDisk: Constraint = {
  name: "install-disk",
  reads: ["install"],
  check({ spec }) {
    const { disk, wipe } = spec.install;
    const findings: Finding[] = [];
    if (wipe && Object.values(disk).every((value) => value === undefined)) {
      findings.push({
        path: ["install", "wipe"],
        message: "`install.wipe: true` would wipe whatever disk there is",
        hint: "say which by `install.disk`: `serial`, `path`, `minGiB` or `maxGiB`",
      });
    }
    if (disk.minGiB !== undefined && disk.maxGiB !== undefined && disk.minGiB > disk.maxGiB) {
      const message = `no disk has at least ${disk.minGiB} and at most ${disk.maxGiB} GiB`;
      findings.push({ path: ["install", "disk", "minGiB"], message, hint: "exchange the two" });
    }
    return findings;
  },
};

/** The medium carries the repository that there is. */
export const installRepository: Constraint = {
  name: "install-repository",
  reads: ["install.repository", "platform.repository"],
  check({ spec }) {
    if (!spec.install.repository || spec.platform.repository.mode !== "connected") return [];
    const message = "`install.repository: true` has no repository: `platform.repository.mode` is `connected`";
    return [{ path: ["install", "repository"], message, hint: "write `platform: { repository: { mode: both } }`" }];
  },
};

/** A shim is for firmware that checks signatures. */
export const shimSecureBoot: Constraint = {
  name: "shim-secure-boot",
  reads: ["trust.shim", "trust.secureBoot"],
  check({ spec }) {
    if (!spec.trust.shim || spec.trust.secureBoot) return [];
    const message = "`trust.shim: true` is for Secure Boot, and `trust.secureBoot` is false";
    return [{ path: ["trust", "shim"], message, hint: "leave one of the two out" }];
  },
};

/** A machine is one node. */
export const uniqueHardware: Constraint = {
  name: "unique-hardware",
  reads: ["nodes.hardware"],
  check(view) {
    const owners = new Map<string, number>();
    return view.spec.nodes.flatMap((node, i) =>
      Object.entries(node.hardware ?? {}).flatMap(([kind, value]): Finding[] => {
        // Two files may hold the same key: compared when they are read.
        if (kind === "tpm") return [];
        const other = owners.get(`${kind} ${value}`);
        owners.set(`${kind} ${value}`, other ?? i);
        if (other === undefined) return [];
        const message = `${nodeName(view, i)} has the hardware ${kind} ${value}, which ${nodeName(view, other)} has already`;
        return [
          { path: [...nodePath(view, i, "hardware", "name"), kind], message, hint: "give each its own machine's" },
        ];
      }),
    );
  },
};

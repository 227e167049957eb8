import { agentHttpPort } from "../../../shared/agent-api.ts";
import { featureNeeds } from "../../spec/feature-needs.ts";
import { textFile, unitFile } from "../files.ts";
import type { Feature } from "../types.ts";

/** The node agent (node/agent), one bundled file run by Debian's nodejs. */
export const feature = {
  name: "agent",
  summary: "node agent: renders the node's configuration, reports phases and facts, answers gates",
  needs: featureNeeds.agent,
  packages: () => ["fping", "nodejs"],
  files: (_spec, assets) => [
    textFile("/usr/lib/kubedos/agent.cjs", assets("dist/agent.cjs")),
    unitFile(assets, "kubedos-agent.service"),
    unitFile(assets, "kubedos-sysctl.service"),
    unitFile(assets, "kubedos-verity.service"),
  ],
  units: { enable: ["kubedos-agent.service", "kubedos-sysctl.service", "kubedos-verity.service"], mask: [] },
  sysctls: {},
  modules: [],
  openings: [{ service: "agent", plane: "control", protocol: "tcp", port: agentHttpPort, from: ["hub", "operators"] }],
  gates: ["certificates"],
} satisfies Feature;

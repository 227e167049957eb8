import { ebpfPaths } from "../../../shared/ebpf.ts";
import { featureNeeds } from "../../spec/feature-needs.ts";
import { textFile, unitFile } from "../files.ts";
import type { Feature } from "../types.ts";

/**
 * bpftrace, bpftool and the libbpf tools for people, and a recorder of TCP flows and retransmits on every node that has
 * its own kernel. bpftrace brings LLVM, which makes the image half as large again: only on request.
 */
export const feature = {
  name: "ebpf",
  summary: "bpftrace, bpftool, libbpf tools; TCP flows and retransmits of every node as JSON lines",
  needs: featureNeeds.ebpf,
  packages: () => ["bpftool", "bpftrace", "libbpf-tools"],
  files: (_spec, assets) => [
    textFile(ebpfPaths.script, assets("node/ebpf/tcp.bt")),
    unitFile(assets, "kubedos-ebpf.service"),
  ],
  units: { enable: ["kubedos-ebpf.service"], mask: [] },
  sysctls: {},
  modules: [],
  openings: [],
  gates: ["ebpf"],
  default: false,
} satisfies Feature;

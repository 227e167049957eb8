import { featureNeeds } from "../../spec/feature-needs.ts";
import { textFile, unitDropIn } from "../files.ts";
import type { Feature } from "../types.ts";

/** containerd with runc and the CNI plugins on the nodes of role core and worker; reached by its socket only. */
export const feature = {
  name: "containerd",
  summary: "containerd, runc and CNI plugins on core and worker nodes",
  needs: featureNeeds.containerd,
  packages: () => ["containerd", "containernetworking-plugins", "runc"],
  files: (_spec, assets) => [
    textFile("/etc/containerd/config.toml", containerdConfig),
    unitDropIn(assets, "containerd.service"),
  ],
  units: { enable: ["containerd.service"], mask: [] },
  sysctls: {},
  // What container networks load when they are first used; where modules are locked it would be too late.
  modules: ["br_netfilter", "bridge", "nft_chain_nat", "nft_compat", "overlay", "veth", "vxlan", "xt_comment"],
  openings: [],
  gates: ["containerd"],
  default: false,
} satisfies Feature;

// containerd-config.toml(5), version 2. Debian's runc and CNI plugins; images and containers on the state partition.
const containerdConfig = `version = 2
root = "/var/lib/kubedos/containerd"
state = "/run/containerd"

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  enable_selinux = false

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  BinaryName = "/usr/sbin/runc"
  SystemdCgroup = true
`;

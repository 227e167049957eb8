/**
 * The spec after checking and with all defaults filled in: what every later part works from. Written by hand in
 * `cluster.yaml` (see schema.ts for what a person may leave out), expanded by load.ts (pools become nodes).
 */

export const targetNames = [
  "raw",
  "metal",
  "qcow2",
  "vmdk",
  "ova",
  "vhd",
  "vhdx",
  "gce",
  "ami",
  "iso",
  "netboot",
  "netinst",
  "firecracker",
  "packer",
  "terraform",
] as const;
export type TargetName = (typeof targetNames)[number];

export const kernelFlavours = ["cloud", "generic"] as const;
export type KernelFlavour = (typeof kernelFlavours)[number];

export const substrateNames = ["qemu", "nspawn"] as const;
export type SubstrateName = (typeof substrateNames)[number];

export const roleNames = ["hub", "core", "edge", "worker"] as const;
export type RoleName = (typeof roleNames)[number];

export const featureNames = [
  "base",
  "kernel",
  "planes",
  "ssh",
  "firewall",
  "time",
  "agent",
  "node-metrics",
  "ansible",
  "etcd",
  "containerd",
  "edge",
  "observability",
  "journal",
  "ebpf",
  "security",
  "salt",
  "repository",
] as const;
export type FeatureName = (typeof featureNames)[number];

export const gateNames = [
  "fabric",
  "sealed",
  "certificates",
  "enrollment",
  "firewall",
  "convergence",
  "isolation",
  "security",
  "etcd",
  "containerd",
  "vip",
  "targets",
  "logs",
  "ebpf",
] as const;
export type GateName = (typeof gateNames)[number];

export interface Spec {
  apiVersion: "kubedos/v1";
  metadata: {
    /** RFC 1123 label; the name of the cluster. */
    name: string;
    description?: string;
  };
  platform: {
    /** Debian suite, e.g. `trixie`. */
    suite: string;
    repository: { mode: "connected" | "darksite" | "both"; profile: "base" | "base+updates" | "full" };
    /** Mirrors tried in order (base URLs of Debian archives); empty: the host's own apt configuration. */
    mirror: string[];
    kernel: KernelFlavour;
    /** Every kernel that the spec's targets need, and so its lock holds; `kernel` first. */
    kernels: KernelFlavour[];
    /** What /var is: LUKS2 unlocked by the machine's TPM, an unencrypted partition, or memory. */
    state: "encrypted" | "plain" | "volatile";
    /** Sorted; a spec that lists a feature without those it needs is refused (see feature-needs.ts). */
    features: FeatureName[];
    /** The virtual address that the nodes of role edge share; feature `edge` serves it. */
    edge?: {
      /** Inside the network of the control, observability or backend plane. */
      vip: string;
      services: {
        name: string;
        port: number;
        /** Nodes of this role, at `targetPort` of their address on the same plane. */
        role: RoleName;
        targetPort: number;
      }[];
    };
    /** Settings of feature `security`. */
    security: { usbStorage: boolean; lockModules: boolean };
    /** Settings of feature `salt`: who makes the minions' keys. */
    salt: { enrollment: "preseed" | "join" };
    /** Additional Debian packages. */
    packages: string[];
    /** Virtual environments below `prefix`. */
    python: { prefix: string; requirements: string[]; without: string[] }[];
    /** Files from the web. */
    blobs: SpecBlob[];
    /** References as `normaliseReference` (image-reference.ts) writes them. */
    images: { reference: string; plainHttp: boolean }[];
    sources: SpecSource[];
    /** Additional files of the image. */
    files: { path: string; mode: number; content: string }[];
  };
  underlay: {
    mode: "static" | "dhcp";
    cidr: string;
    gateway?: string;
    dns: string[];
    mtu: number;
  };
  planes: {
    /** Interface name, at most 15 characters. */
    name: string;
    purpose: "control" | "observability" | "backend" | "storage" | "custom";
    cidr: string;
    /** UDP port on the underlay. */
    port: number;
    mtu: number;
    topology: "mesh" | "hub";
    keepaliveSeconds: number;
  }[];
  kubernetes: { podCidr: string; serviceCidr: string };
  /** In the spec's order, pools expanded; `index` is 1 for the first. Explicit indexes keep addresses stable. */
  nodes: SpecNode[];
  substrate: { name: SubstrateName };
  targets: TargetName[];
  /** What the installation medium may do to a machine's disks. */
  install: {
    /** All that are given must hold; none: the one disk that is fixed and blank. */
    disk: { serial?: string; path?: string; minGiB?: number; maxGiB?: number };
    /** Whether the disk may hold data; refused without a rule and `policy.allowDestroy`. */
    wipe: boolean;
    /** Whether the medium carries the package repository. */
    repository: boolean;
    /** Where netbooted machines find the image, where nobody else says it. */
    server?: string;
  };
  trust: {
    /** Signing key of the foundry this spec belongs to (signify base64), pinned by `init`; absent: not pinned. */
    foundryKey?: string;
    /** Key generation of all nodes unless a node has its own. */
    generation: number;
    secureBoot: boolean;
    /** Debian's shim before the boot images, for firmware with Microsoft's keys only. */
    shim: boolean;
    /** Who signs artifacts instead of the vault's keys. */
    signing?: {
      /** Gets the message on standard input and gives the raw signature; `{key}` is `foundry` or `secure-boot`. */
      command?: string[];
      /** ed25519 public key (signify base64). */
      foundryKey: string;
      /** X.509 certificate of an RSA key, PEM. */
      certificate: string;
    };
    /** Keys that may not sign any more: fingerprints (hex) or signify base64. */
    revoked: string[];
    /** Validity of nodes' and operators' certificates, days. */
    certificateDays: number;
    operators: {
      name: string;
      /** Index from the end of the control plane's range, 1 = last usable. */ slot: number;
    }[];
  };
  policy: {
    allowDestroy: boolean;
    /** What `up` does with a machine of another artifact; `replace` is refused without `allowDestroy`. */
    onChange?: "refuse" | "replace";
    openings: { service: string; plane: string; protocol: "tcp" | "udp"; port: number; roles?: RoleName[] }[];
  };
  convergence: {
    /** How long the hub waits for a node at first boot, seconds. */
    nodeTimeoutSeconds: number;
    /** Time limit of each of the user's playbooks, seconds. */
    workloadTimeoutSeconds: number;
  };
  acceptance: {
    gates: GateName[];
    /** Time limit for all nodes to reach the phase `fabric`, seconds. */
    bootTimeoutSeconds: number;
  };
}

/** A file from the web; where it may be fetched from, and where it goes. */
export interface SpecBlob {
  name: string;
  /** In the order in which they are tried. */
  urls: string[];
  sha256?: string;
  /** Absent: not in the image. */
  path?: string;
  mode: number;
}

/** An apt source beside Debian's. */
export interface SpecSource {
  name: string;
  urls: string[];
  suite: string;
  components: string[];
  /** ASCII armor, or the name of a file. */
  key: string;
}

export interface SpecNode {
  name: string;
  index: number;
  roles: RoleName[];
  cpus: number;
  memoryMiB: number;
  diskGiB: number;
  underlay: string;
  generation: number;
  /** How the installation medium knows the machine; any of them. Lower case but for `tpm`, its TPM's key as PEM. */
  hardware?: { mac?: string; serial?: string; uuid?: string; tpm?: string };
}

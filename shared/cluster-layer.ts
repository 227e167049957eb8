import type { LayerPki } from "./pki.ts";
import type { LayerRepository } from "./repository.ts";

/**
 * The cluster layer: everything a node must know about its cluster and nothing that is secret. One JSON document
 * (`cluster.json`) of O(nodes), carried as a cpio inside the signed UKI's initrd and found by a node under
 * `/run/kubedos/layer/`. A node renders its own configuration from it at boot.
 */

export const layerFormat = 1;

export interface LayerPlane {
  /** Interface name, e.g. `wg1`. */
  name: string;
  purpose: string;
  /** IPv4 network of the plane. A node's address is network + node index. */
  cidr: string;
  /** UDP port on the underlay. */
  port: number;
  mtu: number;
  topology: "mesh" | "hub";
  keepaliveSeconds: number;
}

export interface LayerNode {
  name: string;
  /** Position in every plane's address range, 1 or more, unique. */
  index: number;
  roles: string[];
  /** Underlay IPv4 address, without prefix length. */
  underlay: string;
  /** Key generation; a seed of another generation is refused. */
  generation: number;
  /** WireGuard public keys (base64) in the order of `planes`. */
  keys: string[];
  /** SSH host public key, base64 part of an ssh-ed25519 key. */
  hostKey: string;
  /** On hubs of a platform with Ansible: base64 part of the ssh-ed25519 key that this hub drives the nodes with. */
  automationKey?: string;
  /** RSA public key of its Salt minion, PEM; absent where the node makes it. */
  saltKey?: string;
}

/** A person's machine: a peer on one plane of the hubs, with an SSH key. */
export interface LayerOperator {
  name: string;
  plane: string;
  address: string;
  publicKey: string;
  /** `ssh-ed25519 AAAA… comment`. */
  sshKey: string;
}

/** One opening in the default-deny firewall. `plane` is an interface name or `underlay`. */
export interface LayerOpening {
  service: string;
  plane: string;
  protocol: "tcp" | "udp";
  port: number;
  /** Only on nodes with one of these roles; absent: on all. */
  roles?: string[];
  /** Only from these sources; absent: from every peer of the plane. */
  from?: ("nodes" | "hub" | "operators")[];
}

/** The virtual address that the nodes of role `edge` share, and what they pass on. */
export interface LayerEdge {
  /** Interface name of the plane whose network holds the address. */
  plane: string;
  vip: string;
  /** TCP services; `targetRole` are the nodes that serve them, at `targetPort` of their address on the same plane. */
  services: { name: string; port: number; targetRole: string; targetPort: number }[];
}

export interface ClusterLayer {
  format: typeof layerFormat;
  cluster: string;
  /** 32 hex digits, from the foundry's signing key and the cluster's name. */
  clusterId: string;
  underlay: {
    mode: "static" | "dhcp";
    cidr: string;
    gateway?: string;
    dns: string[];
    mtu: number;
  };
  planes: LayerPlane[];
  nodes: LayerNode[];
  operators: LayerOperator[];
  openings: LayerOpening[];
  /** Time limits of the convergence, in seconds; absent: the engine's own. */
  convergence?: { nodeTimeoutSeconds: number; workloadTimeoutSeconds: number };
  /** Features that are part of the platform, sorted. */
  features: string[];
  sysctls: Record<string, string>;
  /** Certificates of the cluster's authorities. */
  pki?: LayerPki;
  edge?: LayerEdge;
  /** RSA public key that all Salt masters have, PEM; who makes the minions' keys (absent: the foundry, beforehand). */
  salt?: { masterKey: string; enrollment?: "join" };
  /** Where the nodes' apt looks; absent: the platform has no apt. */
  repository?: LayerRepository;
}

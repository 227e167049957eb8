/** What `init` may already know. */
export interface StarterOptions {
  /** Default: `qemu`. */
  substrate?: "qemu" | "nspawn";
  /** Name of the first operator. Default: `operator`. */
  operator?: string;
  /** Foundry's public signing key (signify, base64), to be pinned. */
  foundryKey?: string;
  /** Path or URL of the JSON Schema, for editors. */
  schema?: string;
}

/**
 * The commented spec that `init` writes: three nodes, three planes, everything that people change first. Passes
 * `check` for every `name` that is an RFC 1123 label other than its nodes' and operator's names.
 */
export function starterSpec(name: string, options: StarterOptions = {}): string {
  const { substrate = "qemu", operator = "operator", foundryKey, schema } = options;
  const editor = schema === undefined ? "" : `# yaml-language-server: $schema=${schema}\n`;
  const pin =
    foundryKey === undefined
      ? ""
      : `  # Only the foundry (vault) with this signing key builds this cluster.\n  foundryKey: ${foundryKey}\n`;
  return `${editor}# A kubedos cluster. Check it with \`kubedos check\`; every field is described in docs/spec.md.
apiVersion: kubedos/v1
metadata:
  # Keys are derived from the name: another name is another cluster.
  name: ${name}

platform:
  suite: trixie
  # cloud: small, virtual machines only. generic: also physical machines.
  kernel: cloud
  # Base URLs of Debian mirrors, tried in order. Empty: those of this host's own apt configuration.
  mirror: []
  # More Debian packages for every node, e.g. [htop, tcpdump].
  packages: []

# The network that the machines are in. Only WireGuard answers there.
# A node's address is network + 10 + index, unless it has an \`underlay\` of its own.
underlay:
  mode: static
  cidr: 10.100.0.0/24

# WireGuard networks. A node's address is network + index; operators come from the end of the control plane.
planes:
  - { name: wg1, purpose: control, cidr: 10.101.0.0/24 }
  - { name: wg2, purpose: observability, cidr: 10.102.0.0/24 }
  - { name: wg3, purpose: backend, cidr: 10.103.0.0/24 }

# An index that is written down keeps a node's addresses when others come and go.
nodes:
  # Operators enter through the hub.
  - { name: hub, role: hub, index: 1, cpus: 1, memoryMiB: 512, diskGiB: 2 }
# Like machines by the number. Core nodes hold the quorum: 1, 3 or 5 of them.
pools:
  - { name: core, role: core, count: 1, firstIndex: 11, cpus: 1, memoryMiB: 512, diskGiB: 2 }
  - { name: worker, role: worker, count: 1, firstIndex: 101, cpus: 1, memoryMiB: 512, diskGiB: 2 }

# qemu: virtual machines that boot the sealed image. nspawn: containers, fast and unsealed.
substrate:
  name: ${substrate}
targets: [raw, qcow2]

trust:
  secureBoot: true
${pin}  # Who may log in.
  operators:
    - { name: ${operator} }

policy:
  # Nothing that holds state is removed unless this is true and another field asks for it.
  allowDestroy: false
  # Openings in the default-deny firewall, e.g. { service: web, plane: wg3, protocol: tcp, port: 8080, roles: [worker] }
  openings: []
`;
}

import { z } from "zod";
import { featureNames, gateNames, roleNames, substrateNames, targetNames } from "./types.ts";

/*
 * What a person writes in `cluster.yaml`, version 1. The schema knows shapes, types, ranges and defaults; what values
 * mean together (and how names and addresses are written) is the business of constraints/. `pattern` in `meta` is for
 * editors only, so that the message about a wrong name can say what to write instead.
 */

const labelPattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
const cidrPattern = "^\\d{1,3}(\\.\\d{1,3}){3}/\\d{1,2}$";
const addressPattern = "^\\d{1,3}(\\.\\d{1,3}){3}$";

const label = (description: string) => z.string().meta({ description, pattern: labelPattern });
const cidr = (description: string) => z.string().meta({ description, pattern: cidrPattern });
const address = (description: string) => z.string().meta({ description, pattern: addressPattern });
const integer = (min: number, max: number, description: string) => z.int().min(min).max(max).describe(description);

const word = (description: string) =>
  z
    .string()
    .regex(
      /^[\w./:+-]+$/,
      "has characters other than letters, digits and `_./:+-`\ncopy it as the firmware or `lsblk` shows it, without spaces",
    )
    .describe(description);

/** Limits that the schema and its documentation share. */
export const specLimits = {
  memoryMinMiB: 384,
  underlayMtuMin: 1360,
  mtuMax: 9216,
  planeMtuMin: 1280,
  nodesMax: 65_535,
  indexMax: 16_777_213,
} as const;

const machineFields = {
  role: z.enum(roleNames).optional().describe("The one role; `roles` where there are several. Default: `worker`."),
  roles: z.array(z.enum(roleNames)).min(1).optional().describe("Several roles, instead of `role`."),
  cpus: integer(1, 256, "Virtual CPUs.").default(1),
  memoryMiB: integer(specLimits.memoryMinMiB, 16_777_216, "Memory in MiB.").default(512),
  diskGiB: integer(1, 65_536, "Size of the machine's disk in GiB, the sealed image included.").default(2),
  generation: integer(1, 2_147_483_647, "Key generation. Default: `trust.generation`.").optional(),
};

const nodeSchema = z
  .strictObject({
    name: label("Host name: an RFC 1123 label, unique in the cluster."),
    index: integer(
      1,
      specLimits.indexMax,
      "Position in every plane's address range (address = network + index), unique. Default: the lowest free number, listed nodes first, then pools. Write it where nodes may be inserted or removed above this one: it keeps addresses stable.",
    ).optional(),
    ...machineFields,
    underlay: address("Address on the underlay. Default: underlay network + 10 + index.").optional(),
    hardware: z
      .strictObject({
        mac: z
          .string()
          .regex(
            /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i,
            "not the address of a network card\nwrite six pairs of hex digits with `:` between",
          )
          .optional()
          .describe("Address of one of its network cards."),
        serial: word("Serial number in the machine's SMBIOS tables.").optional(),
        uuid: z
          .guid("not a UUID\nwrite it as `dmidecode -s system-uuid` shows it")
          .optional()
          .describe("UUID in the machine's SMBIOS tables."),
      })
      .optional()
      .describe("How the installation medium knows this machine: any of them is enough."),
  })
  .describe("One machine.");

const poolSchema = z
  .strictObject({
    name: label("The nodes are called NAME-1, NAME-2 …"),
    count: integer(0, specLimits.nodesMax, "Number of nodes."),
    firstIndex: integer(
      1,
      specLimits.indexMax,
      "Index of NAME-1; the others follow it. Default: the lowest free numbers.",
    ).optional(),
    ...machineFields,
    firstUnderlay: address(
      "Underlay address of NAME-1; the others follow it. Default: underlay network + 10 + index.",
    ).optional(),
  })
  .describe("A number of like machines.");

const planeSchema = z
  .strictObject({
    name: z
      .string()
      .meta({ description: "Interface name: at most 15 of a-z, 0-9 and `-`.", pattern: "^[a-z][a-z0-9-]{0,14}$" }),
    purpose: z
      .enum(["control", "observability", "backend", "storage", "custom"])
      .default("custom")
      .describe(
        "What the plane is for. Exactly one plane is `control` (SSH, agent, operators); features bind their services to a purpose.",
      ),
    cidr: cidr("IPv4 network of the plane; a node's address is network + index, operators come from its end."),
    port: integer(1, 65_535, "UDP port on the underlay. Default: 51820 + position of the plane (51821 …).").optional(),
    mtu: integer(
      specLimits.planeMtuMin,
      specLimits.mtuMax,
      "Bytes of a packet inside the plane. Default: `underlay.mtu` − 80.",
    ).optional(),
    topology: z
      .enum(["mesh", "hub"])
      .default("mesh")
      .describe("`mesh`: every pair talks directly (up to 1,000 nodes). `hub`: through the nodes of role hub."),
    keepaliveSeconds: integer(0, 65_535, "WireGuard's persistent keepalive in seconds; 0: none.").default(25),
  })
  .describe("One WireGuard network.");

const edgeSchema = z
  .strictObject({
    vip: address("The address: inside the network of the control, observability or backend plane, and no node's."),
    services: z
      .array(
        z
          .strictObject({
            name: label("What is served, unique."),
            port: integer(1, 65_535, "TCP port on the virtual address."),
            role: z.enum(roleNames).default("core").describe("Nodes that serve it, each on its address of that plane."),
            targetPort: integer(1, 65_535, "TCP port on those nodes. Default: `port`.").optional(),
          })
          .describe("One TCP service behind the virtual address."),
      )
      .min(1)
      .describe("What the load balancers pass on."),
  })
  .describe("Feature `edge`: a virtual address that the nodes of role edge share.");

const platformSchema = z
  .strictObject({
    suite: z.enum(["trixie"]).default("trixie").describe("Debian suite of the nodes."),
    repository: z
      .strictObject({
        mode: z
          .enum(["connected", "darksite", "both"])
          .default("connected")
          .describe(
            "apt sources of the nodes: Debian's mirrors, the repository that the hubs serve (made by `build` from the lock), or both.",
          ),
        profile: z
          .enum(["base", "base+updates", "full"])
          .default("base+updates")
          .describe(
            "Which suites the lock resolves from: `base`: the release alone; `base+updates`: with updates and security fixes. `full`: the same, and `repo create` writes the whole archive.",
          ),
      })
      .prefault({})
      .describe("Package repository."),
    mirror: z
      .array(z.string().meta({ description: "http://, https:// or file:/// base URL of a Debian archive." }))
      .default([])
      .describe("Mirrors, tried in order. Empty: those of the host's own apt configuration."),
    kernel: z
      .enum(["cloud", "generic"])
      .default("cloud")
      .describe("`cloud`: small, virtual machines only. `generic`: also physical machines."),
    state: z
      .enum(["encrypted", "plain", "volatile"])
      .default("encrypted")
      .describe(
        "What a machine's /var is. `encrypted`: a partition that only this machine's TPM unlocks, in its present Secure Boot state. `plain`: an unencrypted partition. `volatile`: memory, empty after each boot. Containers have a directory of the host, unless `volatile`.",
      ),
    features: z
      .array(z.enum(featureNames))
      .optional()
      .describe(
        "Parts of the platform. Default: all whose services have a plane of their purpose, without the opt-in ones (docs/services.md).",
      ),
    edge: edgeSchema.optional(),
    security: z
      .strictObject({
        usbStorage: z.boolean().default(true).describe("Whether the kernel may use USB storage devices."),
        lockModules: z
          .boolean()
          .default(true)
          .describe(
            "Whether loading of kernel modules ends when a node has started; virtual and physical machines only.",
          ),
      })
      .prefault({})
      .describe("Settings of feature `security`."),
    salt: z
      .strictObject({
        enrollment: z
          .enum(["preseed", "join"])
          .default("preseed")
          .describe(
            "Who makes the minions' keys. `preseed`: the foundry, beforehand. `join`: each node, which shows a hub a one-time token while an operator holds a window open (docs/enrollment.md).",
          ),
      })
      .prefault({})
      .describe("Settings of feature `salt`."),
    packages: z
      .array(z.string().meta({ description: "Debian package name.", pattern: "^[a-z0-9][a-z0-9+.-]+$" }))
      .default([])
      .describe("Additional Debian packages."),
    python: z
      .array(
        z
          .strictObject({
            prefix: z.string().meta({ description: "Absolute directory of the image.", pattern: "^/" }),
            requirements: z
              .array(z.string().meta({ description: "Name, extras and versions (PEP 508), e.g. `salt==3008.5`." }))
              .min(1)
              .describe("What to install; the lock pins everything that it needs."),
            without: z
              .array(z.string().meta({ description: "Name of a distribution." }))
              .default([])
              .describe("Left out, with what only they need: optional parts, or what Debian's packages bring instead."),
          })
          .describe("One virtual environment. It sees Debian's python3-* packages too."),
      )
      .default([])
      .describe("Python distributions, from the indexes that the host's pip is configured for."),
    blobs: z
      .array(
        z
          .strictObject({
            name: z.string().optional().describe("Name in the lock. Default: the last part of the URL."),
            url: z.string().describe("http:// or https:// URL; credentials come from ~/.netrc."),
            mirrors: z.array(z.string()).default([]).describe("Other URLs of the same file, tried in order."),
            sha256: z.string().optional().meta({
              description: "What the file must be. Left out: the lock pins what comes, https only.",
              pattern: "^[0-9a-f]{64}$",
            }),
            path: z
              .string()
              .optional()
              .meta({ description: "Absolute path in the image. Left out: kept for capsules only.", pattern: "^/" }),
            mode: z
              .string({ error: 'a mode is a string of octal digits\nput it in quotes: `mode: "0755"`' })
              .default("0644")
              .meta({ description: "Octal permissions in the image, in quotes.", pattern: "^0?[0-7]{3}$" }),
          })
          .describe("One file from the web, owned by root in the image."),
      )
      .default([])
      .describe("Files from the web, pinned by the lock."),
    images: z
      .array(
        z
          .strictObject({
            reference: z
              .string()
              .describe(
                "Registry, repository, and a tag or a digest: `registry.k8s.io/pause:3.10`. Short names mean Docker Hub.",
              ),
            plainHttp: z
              .boolean()
              .default(false)
              .describe("The registry speaks http. Without being told, only one on this host may."),
          })
          .describe("One image for linux/amd64; credentials come from the files of docker and podman."),
      )
      .default([])
      .describe("OCI images, tags resolved to digests by the lock; kept for capsules and the darksite."),
    sources: z
      .array(
        z
          .strictObject({
            name: label("Name of the archive in the lock."),
            urls: z.array(z.string()).min(1).describe("Base URLs of the same archive, tried in order."),
            suite: z.string().describe("Suite; one that ends in `/` is a flat repository's path."),
            components: z.array(z.string()).default([]).describe("Components; none for a flat repository."),
            key: z
              .string()
              .describe(
                "OpenPGP key that must have signed it: the text itself (ASCII armored), or a file beside the spec.",
              ),
          })
          .describe("One apt source."),
      )
      .default([])
      .describe("Apt sources beside Debian's, each with its own key, pinned by the lock in the same way."),
    files: z
      .array(
        z
          .strictObject({
            path: z.string().meta({ description: "Absolute path in the image.", pattern: "^/" }),
            mode: z
              .string({ error: 'a mode is a string of octal digits\nput it in quotes: `mode: "0644"`' })
              .default("0644")
              .meta({ description: "Octal permissions, in quotes.", pattern: "^0?[0-7]{3}$" }),
            content: z.string().describe("The file's text. Images are publishable: never a secret."),
          })
          .describe("One file, owned by root."),
      )
      .default([])
      .describe("Additional files of the image."),
  })
  .describe("What the sealed root filesystem is made of.");

const underlaySchema = z
  .strictObject({
    mode: z
      .enum(["static", "dhcp"])
      .default("static")
      .describe("`dhcp`: the network hands out the addresses below; they must be reserved there."),
    cidr: cidr("IPv4 network that the machines are in.").default("10.100.0.0/16"),
    gateway: address("Default gateway; left out: the cluster is closed.").optional(),
    dns: z.array(address("Address of a name server.")).default([]).describe("Name servers."),
    mtu: integer(specLimits.underlayMtuMin, specLimits.mtuMax, "Bytes of a packet on the underlay.").default(1500),
  })
  .describe("The network below the planes. Only WireGuard, ICMP and (where asked for) DHCP answer there.");

const trustSchema = z
  .strictObject({
    foundryKey: z
      .string()
      .optional()
      .describe("Public signing key of the foundry this spec belongs to (signify, base64). Left out: not pinned."),
    generation: integer(1, 2_147_483_647, "Key generation of all nodes that name none.").default(1),
    secureBoot: z.boolean().default(true).describe("Firmware runs only what the foundry signed."),
    signing: z
      .strictObject({
        command: z
          .array(z.string().min(1))
          .min(1)
          .optional()
          .describe(
            "Program and arguments. It gets the message on standard input and gives the raw signature on standard output; `{key}` in an argument becomes `foundry` (ed25519) or `secure-boot` (RSA PKCS #1 v1.5 with SHA-256). Left out: `build --unsigned`.",
          ),
        foundryKey: z.string().describe("Public half of the key `foundry` (signify, base64)."),
        certificate: z.string().describe("X.509 certificate of the key `secure-boot`, PEM."),
      })
      .optional()
      .describe("Signing keys of the artifacts that are not in the vault, e.g. in an HSM. Seeds stay with the vault."),
    revoked: z
      .array(z.string())
      .default([])
      .describe("Keys that may not sign any more: fingerprints as `verify` prints them, or signify lines."),
    certificateDays: integer(
      1,
      3650,
      "Days that certificates of nodes and operators are valid. `up` renews them after half of that.",
    ).default(90),
    operators: z
      .array(
        z
          .strictObject({
            name: label("An RFC 1123 label, unique among operators and nodes."),
            slot: integer(
              1,
              65_535,
              "Position from the end of the control plane's and the underlay's range, 1 = last usable address. Default: position in the list.",
            ).optional(),
          })
          .describe("One person's machine."),
      )
      .prefault([{ name: "operator" }])
      .describe("Who may log in: peers on the control plane, with an SSH key each."),
  })
  .describe("Keys and who holds them.");

const policySchema = z
  .strictObject({
    allowDestroy: z
      .boolean()
      .default(false)
      .describe("Whether kubedos may remove state of machines it made, as other fields of the spec ask for."),
    onChange: z
      .enum(["refuse", "replace"])
      .default("refuse")
      .describe(
        "What `up` does with an existing machine whose artifact has changed. `replace` loses its state and needs `allowDestroy: true`.",
      ),
    openings: z
      .array(
        z
          .strictObject({
            service: label("What listens there."),
            plane: z.string().describe("Interface name of a plane."),
            protocol: z.enum(["tcp", "udp"]).default("tcp").describe("Transport protocol."),
            port: integer(1, 65_535, "Port."),
            roles: z.array(z.enum(roleNames)).min(1).optional().describe("Only on nodes with one of these roles."),
          })
          .describe("One opening in the default-deny firewall."),
      )
      .default([])
      .describe("Openings besides those of the features."),
  })
  .describe("What is allowed.");

const convergenceSchema = z
  .strictObject({
    nodeTimeoutSeconds: integer(
      1,
      86_400,
      "How long the hub waits for each node at first boot; then it converges the others.",
    ).default(300),
    workloadTimeoutSeconds: integer(1, 86_400, "Time limit of each of your own playbooks.").default(1800),
  })
  .describe("Configuration of the running nodes by the hub, where `platform.features` has `ansible`.");

const installSchema = z
  .strictObject({
    disk: z
      .strictObject({
        serial: word("Serial number of the disk.").optional(),
        path: word("Device name of the disk, e.g. /dev/nvme0n1.").optional(),
        minGiB: integer(1, 1_048_576, "The disk has at least so many GiB.").optional(),
        maxGiB: integer(1, 1_048_576, "The disk has at most so many GiB.").optional(),
      })
      .prefault({})
      .describe("Which disk to install on: exactly one must fit. Nothing given: the one that is fixed and blank."),
    wipe: z
      .boolean()
      .default(false)
      .describe(
        "Whether that disk may hold data, which is lost. Needs a rule for the disk, and `policy.allowDestroy`.",
      ),
    repository: z
      .boolean()
      .default(false)
      .describe(
        "Whether the medium carries the package repository, under /darksite. Needs `platform.repository.mode` `darksite` or `both`.",
      ),
    server: z
      .string()
      .regex(/^http:\/\/[\w.:-]+(\/[\w./-]*)?$/, "not an http:// address\nwrite e.g. `http://10.0.0.1:8080`")
      .optional()
      .describe(
        "netboot: where the image is, for machines that start by UEFI while another DHCP server gives addresses (`serve-netboot --proxy`).",
      ),
  })
  .describe("What installations (targets `iso` and `netboot`) do.");

const acceptanceSchema = z
  .strictObject({
    gates: z
      .array(z.enum(gateNames))
      .optional()
      .describe("Checks that must pass. Default: all that the substrate, `trust` and the number of nodes allow."),
    bootTimeoutSeconds: integer(10, 86_400, "Time limit for all nodes to see each other on every plane.").default(600),
  })
  .describe("When the cluster counts as up.");

/** `cluster.yaml` version 1, as written. Its output type has all defaults that need no second look at the spec. */
export const specSchema = z
  .strictObject({
    apiVersion: z.literal("kubedos/v1").describe("Version of this format."),
    metadata: z
      .strictObject({
        name: label(
          "Name of the cluster: an RFC 1123 label. Keys are derived from it: changing it makes another cluster.",
        ),
        description: z.string().optional().describe("For people."),
      })
      .describe("What the cluster is called."),
    platform: platformSchema.prefault({}),
    underlay: underlaySchema.prefault({}),
    planes: z
      .array(planeSchema)
      .prefault([
        { name: "wg1", purpose: "control", cidr: "10.101.0.0/16" },
        { name: "wg2", purpose: "observability", cidr: "10.102.0.0/16" },
        { name: "wg3", purpose: "backend", cidr: "10.103.0.0/16" },
      ])
      .describe("WireGuard networks, any number."),
    kubernetes: z
      .strictObject({
        podCidr: cidr("Network of the pods.").default("10.244.0.0/16"),
        serviceCidr: cidr("Network of the services.").default("10.96.0.0/16"),
      })
      .prefault({})
      .describe("Networks reserved for the reference workload."),
    nodes: z.array(nodeSchema).default([]).describe("Machines, one by one. At least one node has the role hub."),
    pools: z.array(poolSchema).default([]).describe("Machines by the number."),
    substrate: z
      .strictObject({
        name: z
          .enum(substrateNames)
          .default("qemu")
          .describe("`qemu`: virtual machines that boot the sealed image. `nspawn`: containers, fast and unsealed."),
      })
      .prefault({})
      .describe("Where the machines live."),
    targets: z.array(z.enum(targetNames)).min(1).default(["raw", "qcow2"]).describe("Formats that `build` writes."),
    install: installSchema.prefault({}),
    trust: trustSchema.prefault({}),
    policy: policySchema.prefault({}),
    convergence: convergenceSchema.prefault({}),
    acceptance: acceptanceSchema.prefault({}),
  })
  .describe("A kubedos cluster, version 1.");

/** The spec as written, with the schema's defaults filled in. */
export type WrittenSpec = z.output<typeof specSchema>;

/**
 * JSON Schema (draft 2020-12) of what a person may write, for editors.
 * @see https://json-schema.org/draft/2020-12
 */
export function specJsonSchema(): Record<string, unknown> {
  const { $schema, ...rest } = z.toJSONSchema(specSchema, { io: "input" });
  return { $schema, title: "kubedos cluster spec, version 1", ...rest };
}

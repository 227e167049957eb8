import { z } from "zod";
import { featureNames, roleNames } from "../types.ts";
import { address, integer, label } from "./fields.ts";

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

export const platformSchema = z
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
        usbStorage: z
          .boolean()
          .default(true)
          .describe(
            "Whether the kernel may use USB storage devices. `false` needs the feature `security`; root and seed are then on no USB disk.",
          ),
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

import { z } from "zod";
import { gateNames, roleNames } from "../types.ts";
import { integer, label, word } from "./fields.ts";

export const trustSchema = z
  .strictObject({
    foundryKey: z
      .string()
      .optional()
      .describe("Public signing key of the foundry this spec belongs to (signify, base64). Left out: not pinned."),
    generation: integer(1, 2_147_483_647, "Key generation of all nodes that name none.").default(1),
    secureBoot: z.boolean().default(true).describe("Firmware runs only what the foundry signed."),
    shim: z
      .boolean()
      .default(false)
      .describe(
        "Boot images start by Debian's shim, for firmware that holds only Microsoft's keys: the machine's operator enrols the foundry's certificate once (docs/targets.md).",
      ),
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

export const policySchema = z
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

export const convergenceSchema = z
  .strictObject({
    nodeTimeoutSeconds: integer(
      1,
      86_400,
      "How long the hub waits for each node at first boot; then it converges the others.",
    ).default(300),
    workloadTimeoutSeconds: integer(1, 86_400, "Time limit of each of your own playbooks.").default(1800),
  })
  .describe("Configuration of the running nodes by the hub, where `platform.features` has `ansible`.");

export const installSchema = z
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

export const acceptanceSchema = z
  .strictObject({
    gates: z
      .array(z.enum(gateNames))
      .optional()
      .describe("Checks that must pass. Default: all that the substrate, `trust` and the number of nodes allow."),
    bootTimeoutSeconds: integer(10, 86_400, "Time limit for all nodes to see each other on every plane.").default(600),
  })
  .describe("When the cluster counts as up.");

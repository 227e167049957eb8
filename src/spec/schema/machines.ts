import { z } from "zod";
import { roleNames } from "../types.ts";
import { address, integer, label, specLimits, word } from "./fields.ts";

const machineFields = {
  role: z.enum(roleNames).optional().describe("The one role; `roles` where there are several. Default: `worker`."),
  roles: z.array(z.enum(roleNames)).min(1).optional().describe("Several roles, instead of `role`."),
  cpus: integer(1, 256, "Virtual CPUs.").default(1),
  memoryMiB: integer(specLimits.memoryMinMiB, 16_777_216, "Memory in MiB.").default(512),
  diskGiB: integer(1, 65_536, "Size of the machine's disk in GiB, the sealed image included.").default(2),
  generation: integer(1, 2_147_483_647, "Key generation. Default: `trust.generation`.").optional(),
};

export const nodeSchema = z
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
        tpm: z
          .string()
          .min(1)
          .max(4096)
          .optional()
          .describe(
            "Public key of its TPM (`tpm.pem` of a support bundle): the file's path relative to the spec, or its text. Its seed is then sealed to this TPM.",
          ),
      })
      .optional()
      .describe("How the installation medium knows this machine: any of them is enough."),
  })
  .describe("One machine.");

export const poolSchema = z
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

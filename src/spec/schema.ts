import { z } from "zod";
import { substrateNames, targetNames } from "./types.ts";
import { cidr, label } from "./schema/fields.ts";
import { nodeSchema, poolSchema } from "./schema/machines.ts";
import { planeSchema, underlaySchema } from "./schema/network.ts";
import { platformSchema } from "./schema/platform.ts";
import { acceptanceSchema, convergenceSchema, installSchema, policySchema, trustSchema } from "./schema/policy.ts";

/*
 * What a person writes in `cluster.yaml`, version 1. The schema knows shapes, types, ranges and defaults; what values
 * mean together (and how names and addresses are written) is the business of constraints/. `pattern` in `meta` is for
 * editors only, so that the message about a wrong name can say what to write instead.
 */

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

import { z } from "zod";
import { address, cidr, integer, specLimits } from "./fields.ts";

export const underlaySchema = z
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

export const planeSchema = z
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

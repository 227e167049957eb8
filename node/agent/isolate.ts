import { exec } from "./exec.ts";

/**
 * Cuts this node off from one plane for a while, as a broken network would: every packet of the plane is dropped in
 * both directions. The end is the kernel's business (an element of an nftables set that expires), so that nothing
 * stays cut when the agent ends.
 *
 * @throws when nftables refuses
 */
export async function isolate(plane: string, seconds: number): Promise<void> {
  const rules = [
    // The first two lines make the third replace the table in one transaction.
    "table inet kubedos_cut",
    "delete table inet kubedos_cut",
    "table inet kubedos_cut {",
    "  set cut {",
    "    type ifname",
    "    flags timeout",
    `    elements = { "${plane}" timeout ${seconds}s }`,
    "  }",
    "  chain in {",
    "    type filter hook prerouting priority raw; policy accept;",
    "    iifname @cut counter drop",
    "  }",
    "  chain out {",
    "    type filter hook output priority raw; policy accept;",
    "    oifname @cut counter drop",
    "  }",
    "}",
    "",
  ];
  const { status, stderr } = await exec("nft", ["-f", "-"], { input: rules.join("\n") });
  if (status !== 0) throw new Error(`nft: ${stderr.trim()}`);
}

import { nodeFlags } from "../../shared/node-flags.ts";

/** Command that runs one of the platform's own programs on a node, as root; its arguments follow. */
export function nodeProgram(bundle: "agent" | "converge" | "enroll"): readonly string[] {
  return ["sudo", "-n", "/usr/bin/node", ...nodeFlags, `/usr/lib/kubedos/${bundle}.cjs`];
}

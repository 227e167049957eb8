import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../../shared/error.ts";
import type { Stage, StageInput } from "../engine.ts";
import { runScript, scriptVersion, type Tools } from "../tools.ts";

/**
 * The user's playbooks, read by the Ansible that will run them: `ansible-playbook --syntax-check` in the platform's tree,
 * with the cluster's inventory and the platform's roles. An error ends the build before anything boots.
 */
export function playbooksStage(
  tools: Tools,
  tree: Stage,
  inputs: { content: StageInput; platform: StageInput; inventory: StageInput },
): Stage {
  return {
    name: "playbooks",
    version: scriptVersion(tools, "playbooks.sh"),
    options: { epoch: tools.epoch },
    inputs: { tree: { stage: tree, output: "tree" }, ...inputs },
    outputs: ["log"],
    async run(work) {
      const { status } = await runScript(tools, work, "playbooks.sh");
      if (status === "0") return;
      const log = await readFile(join(work.out, "log"), "utf8");
      throw new KubedosError("spec", `Ansible cannot read ansible/site.yml\n${log.trim().replaceAll(/^/gm, "  | ")}`, {
        hint: "correct the playbook; nothing has been started",
      });
    },
  };
}

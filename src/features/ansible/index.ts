import { automationLogin, automationPaths } from "../../../shared/convergence.ts";
import { seedCredentials } from "../../../shared/seed.ts";
import { featureNeeds } from "../../spec/feature-needs.ts";
import { textFile, unitFile } from "../files.ts";
import type { Feature } from "../types.ts";

const source = "node/ansible/";

/**
 * Ansible on the hubs, over SSH on the control plane. Nodes have an unprivileged login for it that becomes root with
 * sudo; only hubs have the key, each its own, and it is taken from the hub's own address only.
 */
export const feature = {
  name: "ansible",
  summary: "Ansible: the hub converges the nodes along a graph of stages, the user's playbooks last",
  needs: featureNeeds.ansible,
  packages: () => ["ansible-core", "openssh-client", "sudo"],
  files: (_spec, assets) => [
    textFile("/usr/lib/kubedos/converge.cjs", assets("dist/converge.cjs")),
    unitFile(assets, "kubedos-converge.service"),
    textFile("/etc/sudoers.d/kubedos-automation", sudoers, 0o440),
    textFile("/usr/lib/sysusers.d/kubedos-automation.conf", sysusers),
    textFile("/usr/lib/tmpfiles.d/kubedos-automation.conf", tmpfiles),
    textFile("/usr/lib/systemd/system/systemd-tmpfiles-setup.service.d/20-kubedos-automation.conf", keyCredential),
    textFile("/etc/ansible/ansible.cfg", assets(`${source}ansible.cfg`)),
    ...assets
      .list(source.slice(0, -1))
      .filter((path) => !path.endsWith(".test.ts"))
      .map((path) => textFile(`${automationPaths.platform}/${path.slice(source.length)}`, assets(path))),
  ],
  units: { enable: ["kubedos-converge.service"], mask: [] },
  sysctls: {},
  modules: [],
  openings: [],
  gates: ["convergence"],
  default: false,
} satisfies Feature;

// sysusers.d(5). The shell is what Ansible runs its modules with.
const sysusers = `u ${automationLogin} 901 "kubedos automation" ${automationPaths.home} /bin/sh\n`;

// sudoers(5). Ansible's modules are programs of its own making: which of them may run cannot be told by their names.
const sudoers = `${automationLogin} ALL=(root) NOPASSWD: ALL\n`;

// tmpfiles.d(5): f^ writes a credential, and nothing on a node that has none.
const tmpfiles = [
  `d ${automationPaths.home} 0700 ${automationLogin} ${automationLogin} -`,
  `d ${automationPaths.home}/cp 0700 ${automationLogin} ${automationLogin} -`,
  `f^ ${automationPaths.home}/id_ed25519 0600 ${automationLogin} ${automationLogin} - ${seedCredentials.automationKey}`,
  `d ${automationPaths.hubContent} 0755 root root -`,
  "d /etc/ansible/facts.d 0755 root root -",
  "",
].join("\n");

const keyCredential = `[Service]\nImportCredential=${seedCredentials.automationKey}\n`;

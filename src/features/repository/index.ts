import { darksiteSerial, repositoryPort } from "../../../shared/repository.ts";
import { featureNeeds } from "../../spec/feature-needs.ts";
import { textFile, unitFile } from "../files.ts";
import type { Feature, FeatureOpening } from "../types.ts";

/**
 * apt on the nodes, with the sources that `platform.repository` asks for and no others, and the hubs' server of the
 * cluster's own repository. The root is read-only: apt is there to look, to download and to unpack elsewhere.
 */
export const feature = {
  name: "repository",
  summary: "apt with the sources of platform.repository; hubs serve the cluster's own repository on the control plane",
  needs: featureNeeds.repository,
  packages: (spec) => [
    "apt",
    "debian-archive-keyring",
    ...(spec.platform.mirror.some((url) => url.startsWith("https:")) ? ["ca-certificates"] : []),
  ],
  files: (_spec, assets) => [
    unitFile(assets, "kubedos-repository.service"),
    textFile("/usr/lib/sysusers.d/kubedos-repository.conf", 'u kubedos-repository - "kubedos apt repository" - -\n'),
    textFile(
      "/usr/lib/tmpfiles.d/kubedos-repository.conf",
      "L+ /etc/apt/sources.list.d/kubedos.sources - - - - /run/kubedos/apt/kubedos.sources\n",
    ),
    // The disk's name and reader: systemd's own rules have read its serial number before.
    textFile(
      "/usr/lib/udev/rules.d/70-kubedos-repository.rules",
      `SUBSYSTEM=="block", ENV{DEVTYPE}=="disk", ENV{ID_SERIAL}=="*${darksiteSerial}", ` +
        'GROUP="kubedos-repository", MODE="0440", SYMLINK+="kubedos/darksite"\n',
    ),
    // apt_preferences(5): where there are both, the cluster's own repository decides.
    textFile("/etc/apt/preferences.d/kubedos.pref", "Package: *\nPin: release o=kubedos\nPin-Priority: 900\n"),
    textFile(
      "/etc/apt/apt.conf.d/90kubedos",
      'APT::Install-Recommends "false";\nAcquire::Languages "none";\nAcquire::Retries "1";\n',
    ),
  ],
  units: { enable: ["kubedos-repository.service"], mask: [] },
  sysctls: {},
  modules: [],
  openings: [],
  specOpenings: ({ platform }) => (platform.repository.mode === "connected" ? [] : [repositoryOpening]),
  gates: [],
} satisfies Feature;

/** Where the hubs serve, in the modes `darksite` and `both`. */
export const repositoryOpening: FeatureOpening = {
  service: "repository",
  plane: "control",
  protocol: "tcp",
  port: repositoryPort,
  from: ["nodes", "operators"],
  roles: ["hub"],
};

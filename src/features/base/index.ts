import { featureNeeds } from "../../spec/feature-needs.ts";
import type { Spec } from "../../spec/types.ts";
import { textFile, unitFile } from "../files.ts";
import type { Feature, ImageFile } from "../types.ts";

/** Opened, mounted, filled: each with the rights for its step only. */
const stateUnits = ["kubedos-state.service", "kubedos-state-mount.service", "kubedos-state-fill.service"];

const modulesOfState = {
  encrypted: ["loop", "dm_crypt", "tpm_crb", "tpm_tis"],
  plain: ["loop"],
  volatile: [],
} satisfies Record<Spec["platform"]["state"], string[]>;

/** The unit that opens the state cannot load modules itself: systemd's own units do, beside what starts before. */
function stateModules(state: Spec["platform"]["state"]): ImageFile[] {
  const units = modulesOfState[state].map((module) => `modprobe@${module}.service`).join(" ");
  const path = "/usr/lib/systemd/system/kubedos-state.service.d/10-modules.conf";
  return units === "" ? [] : [textFile(path, `[Unit]\nWants=${units}\nAfter=${units}\n`)];
}

/** Debian with systemd as PID 1, nothing that a sealed node does not use, root without a password. */
export const feature = {
  name: "base",
  summary: "Debian with systemd, udev, networking tools and the parts for a TPM-bound state partition",
  needs: featureNeeds.base,
  packages: () => [
    "dbus",
    "dmsetup",
    "e2fsprogs",
    "iproute2",
    "iputils-ping",
    "kmod",
    "libtss2-esys-3.0.2-0t64",
    "libtss2-mu-4.0.1-0t64",
    "libtss2-rc0t64",
    "libtss2-tcti-device0t64",
    "procps",
    "systemd",
    "systemd-cryptsetup",
    "systemd-repart",
    "systemd-sysv",
    "udev",
    "util-linux",
    "zstd",
  ],
  files: (spec, assets) => [
    // /var: the state partition (docs/identity.md).
    textFile("/usr/lib/kubedos/state-common.sh", assets("node/state/common.sh")),
    textFile("/usr/lib/kubedos/state.sh", assets("node/state/state.sh")),
    textFile("/usr/lib/kubedos/state-mount.sh", assets("node/state/mount.sh")),
    textFile("/usr/lib/kubedos/state-fill.sh", assets("node/state/fill.sh")),
    textFile("/usr/lib/kubedos/state.conf", `mode=${spec.platform.state}\n`),
    ...stateUnits.map((unit) => unitFile(assets, unit)),
    ...stateModules(spec.platform.state),
    // The node writes these two at boot (render); the image's own are replaced by links into /run.
    textFile(
      "/usr/lib/tmpfiles.d/kubedos.conf",
      "L+ /etc/hosts - - - - ../run/kubedos/hosts\nL+ /etc/resolv.conf - - - - ../run/kubedos/resolv.conf\n",
    ),
    // Memory of a node is small and its root is read-only: the journal lives in /run, within bounds.
    textFile(
      "/usr/lib/systemd/journald.conf.d/10-kubedos.conf",
      "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\nForwardToConsole=no\n",
    ),
    textFile(
      "/usr/lib/systemd/system.conf.d/10-kubedos.conf",
      "[Manager]\nDefaultTimeoutStartSec=90s\nDefaultTimeoutStopSec=20s\nDumpCore=no\n",
    ),
    textFile("/usr/lib/systemd/coredump.conf.d/10-kubedos.conf", "[Coredump]\nStorage=none\nProcessSizeMax=0\n"),
  ],
  units: {
    enable: [...stateUnits, "systemd-networkd.service"],
    mask: [
      // Package maintenance: a node is never changed in place.
      "apt-daily-upgrade.timer",
      "apt-daily.timer",
      "dpkg-db-backup.timer",
      "e2scrub_all.timer",
      "e2scrub_reap.service",
      "fstrim.timer",
      // The volatile /etc and /var look new at every boot; what these would make is in the image or not wanted.
      "ldconfig.service",
      "systemd-firstboot.service",
      "systemd-hwdb-update.service",
      "systemd-journal-catalog-update.service",
      "systemd-machine-id-commit.service",
      "systemd-update-done.service",
      // Terminals: only the serial console (and nspawn's console) are there.
      "getty@tty1.service",
      "autovt@.service",
      // A node waits for its planes, not for "some" network.
      "systemd-networkd-wait-online.service",
      "systemd-networkd-persistent-storage.service",
      // No foreign binaries; systemd-repart makes the TPM's storage key itself: both cost a slow machine a part of its boot.
      "proc-sys-fs-binfmt_misc.automount",
      "systemd-binfmt.service",
      "systemd-tpm2-setup-early.service",
      "systemd-tpm2-setup.service",
      // Nothing sleeps, nothing is resumed.
      "hibernate.target",
      "hybrid-sleep.target",
      "sleep.target",
      "suspend.target",
      "systemd-hibernate-clear.service",
      "systemd-rfkill.service",
      "systemd-rfkill.socket",
    ],
  },
  sysctls: {
    "fs.protected_fifos": "2",
    "fs.protected_regular": "2",
    "fs.suid_dumpable": "0",
    "kernel.dmesg_restrict": "1",
    "kernel.kptr_restrict": "2",
    "kernel.sysrq": "0",
    "kernel.unprivileged_bpf_disabled": "1",
    "kernel.yama.ptrace_scope": "2",
    "net.core.bpf_jit_harden": "2",
  },
  modules: [],
  openings: [],
  gates: [],
} satisfies Feature;

import { confinedUnits } from "../../../shared/confinement.ts";
import { featureNeeds } from "../../spec/feature-needs.ts";
import type { Spec } from "../../spec/types.ts";
import { textFile, unitDropIn, unitFile } from "../files.ts";
import type { Feature } from "../types.ts";

/**
 * The security baseline above what every node has anyway (docs/security.md): stricter kernel settings, no module is
 * loaded after start, restrictive defaults of permissions, AppArmor profiles, an audit trail. The gate `security` looks at all of it.
 */
export const feature = {
  name: "security",
  summary:
    "security baseline: kernel settings, module policy, AppArmor, audit, umask; its gate looks at the whole node",
  needs: featureNeeds.security,
  packages: () => ["apparmor", "auditd"],
  files: (spec, assets) => [
    textFile("/usr/lib/modprobe.d/kubedos-security.conf", moduleRules(spec)),
    textFile("/etc/profile.d/kubedos-umask.sh", "umask 027\n"),
    textFile("/etc/security/limits.d/10-kubedos.conf", "* hard core 0\n* soft core 0\n"),
    unitFile(assets, "kubedos-modules-lock.service"),
    unitFile(assets, "kubedos-apparmor.service"),
    unitDropIn(assets, "audit-rules.service"),
    unitDropIn(assets, "auditd.service"),
    textFile("/etc/audit/rules.d/audit.rules", assets("node/audit/kubedos.rules")),
    textFile("/etc/audit/auditd.conf", assets("node/audit/auditd.conf")),
    textFile("/usr/lib/tmpfiles.d/kubedos-audit.conf", "d /var/log/audit 0700 root root -\n"),
    ...profiles.map((name) => textFile(`/etc/apparmor.d/${name}`, assets(`node/apparmor/${name}`))),
    // Debian's profile asks for this file: what the site adds.
    textFile("/etc/apparmor.d/local/usr.sbin.chronyd", "@{run}/kubedos/chrony/{,*} r,\n"),
    ...Object.entries(confinedUnits)
      .filter(([, profile]) => !profile.startsWith("/"))
      .map(([unit, profile]) =>
        // The dash: a kernel without AppArmor (in a container, the host's) starts the unit all the same.
        textFile(`/usr/lib/systemd/system/${unit}.d/30-apparmor.conf`, `[Service]\nAppArmorProfile=-${profile}\n`),
      ),
    ...(spec.platform.security.lockModules ? [textFile("/usr/lib/kubedos/lock-modules", "")] : []),
  ],
  units: {
    enable: ["audit-rules.service", "auditd.service", "kubedos-apparmor.service", "kubedos-modules-lock.service"],
    // It would load Debian's hundred profiles for desktop programs.
    mask: ["apparmor.service"],
  },
  sysctls: {
    "dev.tty.ldisc_autoload": "0",
    "fs.protected_hardlinks": "1",
    "fs.protected_symlinks": "1",
    "kernel.core_pattern": "|/bin/false",
    "kernel.kexec_load_disabled": "1",
    "kernel.perf_event_paranoid": "3",
    "kernel.randomize_va_space": "2",
    "net.ipv4.conf.all.log_martians": "1",
    "net.ipv4.icmp_ignore_bogus_error_responses": "1",
    "net.ipv4.tcp_rfc1337": "1",
    "net.ipv4.tcp_syncookies": "1",
    "vm.unprivileged_userfaultfd": "0",
  },
  modules: [],
  openings: [],
  gates: ["isolation", "security"],
  default: false,
} satisfies Feature;

/** Files of node/apparmor. */
const profiles = ["kubedos-agent", "kubedos-haproxy", "kubedos-service"];

/** File systems and protocols that no node uses and that kernels have had holes in. */
const unusedModules = ["cramfs", "dccp", "firewire-core", "hfs", "hfsplus", "jffs2", "rds", "sctp", "tipc", "udf"];

/** modprobe.d(5): what is asked for is refused, however it is asked. */
function moduleRules(spec: Spec): string {
  const refused = spec.platform.security.usbStorage ? unusedModules : [...unusedModules, "uas", "usb-storage"];
  return refused.map((name) => `blacklist ${name}\ninstall ${name} /bin/false\n`).join("");
}

import { automationLogin } from "../../../shared/convergence.ts";
import { operatorLogin, renderedPaths } from "../../../shared/render/render.ts";
import { seedCredentials } from "../../../shared/seed.ts";
import type { Spec } from "../../spec/types.ts";
import { featureNeeds } from "../../spec/feature-needs.ts";
import { textFile, unitDropIn } from "../files.ts";
import type { Feature } from "../types.ts";

/**
 * sshd on the control plane only, with the host key from the seed and the operators' keys from the cluster layer.
 * Operators log in as `kubedos` (uid 900) and become root with sudo; root itself cannot log in.
 */
export const feature = {
  name: "ssh",
  summary: "sshd on the control plane: keys only, host key from the seed, operators from the spec",
  needs: featureNeeds.ssh,
  packages: () => ["openssh-server", "sudo"],
  files: (spec, assets) => [
    textFile("/etc/ssh/sshd_config", sshdConfig(loginsOf(spec))),
    textFile("/etc/sudoers.d/kubedos", "kubedos ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440),
    textFile("/usr/lib/sysusers.d/kubedos.conf", 'u kubedos 900 "kubedos operator" /home/kubedos /bin/bash\n'),
    textFile("/usr/lib/tmpfiles.d/kubedos-ssh.conf", "d /home/kubedos 0700 kubedos kubedos -\n"),
    unitDropIn(assets, "ssh.service"),
  ],
  // The host key comes with the seed; a key made on the node would be one that nobody knows.
  units: {
    enable: ["ssh.service"],
    mask: ["ssh.socket", "sshd-keygen.service", "sshd-vsock.socket", "sshd-unix-local.socket"],
  },
  sysctls: {},
  modules: [],
  openings: [{ service: "ssh", plane: "control", protocol: "tcp", port: 22, from: ["hub", "operators"] }],
  gates: [],
} satisfies Feature;

function hasAnsible(spec: Spec): boolean {
  return spec.platform.features.includes("ansible");
}

function loginsOf(spec: Spec): string[] {
  return [operatorLogin, ...(hasAnsible(spec) ? [automationLogin] : [])];
}

/** sshd_config(5); ListenAddress is in the included file, which the node renders. */
function sshdConfig(logins: readonly string[]): string {
  return `Include ${renderedPaths.sshdListen}
AddressFamily inet
HostKey /run/credentials/ssh.service/${seedCredentials.sshHostKey}
HostKeyAlgorithms ssh-ed25519
KexAlgorithms mlkem768x25519-sha256,sntrup761x25519-sha512,curve25519-sha256
Ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com
MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com
PubkeyAcceptedAlgorithms ssh-ed25519,sk-ssh-ed25519@openssh.com
AuthenticationMethods publickey
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
PermitEmptyPasswords no
AllowUsers ${logins.join(" ")}
AuthorizedKeysFile /run/kubedos/authorized_keys/%u
UsePAM yes
LoginGraceTime 30
MaxAuthTries 3
MaxStartups 10:30:60
X11Forwarding no
AllowAgentForwarding no
AllowTcpForwarding yes
GatewayPorts no
PermitTunnel no
PermitUserEnvironment no
PrintMotd no
UseDNS no
ClientAliveInterval 30
ClientAliveCountMax 4
Subsystem sftp internal-sftp
`;
}

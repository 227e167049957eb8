/**
 * The seed: one node's secrets, a few KB, signed by the foundry. It is a raw disk image without a file system, so
 * that nothing of it is parsed before its signature has been checked:
 *
 *   offset 0     header, ASCII, padded with NUL to 4096 bytes:
 *                `KUBEDOS-SEED 1 <payload bytes, decimal>\n` followed by an OpenBSD signify signature (two lines)
 *                over the payload
 *   offset 4096  payload: a ustar archive, padded with NUL to a multiple of 4096 bytes (the padding is not signed)
 *
 * Members of the archive: `manifest` (lines `cluster=<clusterId>`, `node=<name>`, `generation=<n>`) and
 * `credentials/<name>`, each of which systemd takes as a system credential (see systemd.exec(5), "Credentials").
 */

export const seedMagic = "KUBEDOS-SEED 1";
export const seedHeaderBytes = 4096;

/** Names of the credentials in a seed. */
export const seedCredentials = {
  hostname: "system.hostname",
  machineId: "system.machine_id",
  node: "kubedos.node",
  sshHostKey: "kubedos.ssh_host_ed25519_key",
  /** Hubs only: the SSH private key that Ansible drives the nodes with. */
  automationKey: "kubedos.automation_ssh_key",
} as const;

/** Credential that holds the private key of a plane's interface; systemd-networkd reads it itself. */
export function wireguardCredential(plane: string): string {
  return `network.wireguard.private.${plane}`;
}

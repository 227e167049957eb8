/**
 * The cluster's PKI: one root, one intermediate authority a purpose, and certificates for nodes and operators. A
 * verifier of a purpose trusts that purpose's intermediate and nothing else, so a certificate of one purpose is worth
 * nothing for another. All keys are Ed25519 (RFC 8410).
 */

/** What certificates are for. */
export const pkiPurposes = [
  "agent", // the node agents' status, and who may read it
  "etcd", // members and clients of etcd
  "telemetry", // metrics, alerts and journals
] as const;
export type PkiPurpose = (typeof pkiPurposes)[number];

/** Certificates of the authorities, PEM. Part of the cluster layer: none of it is secret. */
export interface LayerPki {
  root: string;
  authorities: Record<PkiPurpose, string>;
}

/**
 * Credential of a node's seed: `crt` is its certificate followed by the intermediate, `key` its private key (PKCS#8),
 * both PEM.
 */
export function pkiCredential(purpose: PkiPurpose, part: "crt" | "key"): string {
  return `kubedos.pki.${purpose}.${part}`;
}

/**
 * Where a node keeps its certificates: `<purpose>.crt` (0644), `<purpose>.key` (0600 root, for `LoadCredential=` of the
 * service that needs it), `<purpose>.ca.crt` (0644, what to trust) and `root.ca.crt`.
 */
export const pkiDirectory = "/run/kubedos/pki";

/** Absolute path of one of these files on a node. */
export function pkiFile(purpose: PkiPurpose, part: "crt" | "key" | "ca.crt"): string {
  return `${pkiDirectory}/${purpose}.${part}`;
}

/** Common name of an operator's certificate; no node can have it. */
export function operatorCommonName(name: string): string {
  return `operator:${name}`;
}

/** Services that are restarted when their certificate has been renewed; the agent takes up its own. */
export const pkiUnits: Record<PkiPurpose, readonly string[]> = {
  agent: ["kubedos-enroll.service"],
  etcd: ["etcd.service"],
  telemetry: ["kubedos-journal-tls.service", "systemd-journal-upload.service"],
};

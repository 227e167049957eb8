/**
 * Enrollment mode `join`: a node makes its Salt key itself and shows a hub a one-time token for it.
 *
 * Tokens: the operator's machine draws one secret of 32 bytes a node, which goes into the node's seed or, later, over
 * SSH to the node. What the node shows a hub is made of it for this hub alone (HKDF-SHA256, `tokenSalt`, `tokenInfo`),
 * so no hub can use it at another one. A hub knows the sha256 of it only.
 *
 * Endpoint: HTTPS with certificates of the agents' authority on both sides, on the control plane's address of each hub.
 * `POST /enrollment` (`JoinRequest`) counts during a window that an operator has opened; `GET /enrollment`, with the
 * fingerprint of the node's key in `keyHeader`, tells a node at any time how its own request stands. Both answer with
 * `JoinAnswer`.
 *
 * Control: root on the hub writes one `EnrollCommand` as JSON to a unix socket and reads one `EnrollReply`.
 */

export type EnrollmentMode = "preseed" | "join";

/** TCP port of the endpoint on the control plane. */
export const enrollPort = 7445;

/** Credential of a node's seed: the secret that its tokens are made of, base64url. */
export const enrollCredential = "kubedos.enroll.token";

/** Where things of the enrollment are on a node. */
export const enrollPaths = {
  /** Hubs: state, audit log, accepted keys. */
  state: "/var/lib/kubedos-enroll",
  /** Hubs: accepted public keys, a file a node; kubedos-salt-keys copies them to Salt's master. */
  keys: "/var/lib/kubedos-enroll/keys",
  control: "/run/kubedos-enroll/control.sock",
  /** Hubs: how the enrollment stands, for the agent. */
  summary: "/run/kubedos-enroll/summary.json",
  /** Hubs: keys that Salt's master has refused, as the agent has seen them. */
  refused: "/run/kubedos/salt/refused.jsonl",
  /** Nodes: the key that the node has made, and a token that came after the seed. */
  join: "/var/lib/kubedos-join",
  /** Rendered in mode `join`: the minion waits until the node is enrolled. */
  mode: "/run/kubedos/salt/join",
  /** There once the minion may start; in mode `join` it holds the fingerprint of the node's key. */
  enrolled: "/run/kubedos/salt/enrolled",
} as const;

export const tokenSalt = "kubedos/enroll/v1";

/** Info of the HKDF that makes a hub's token of a node's secret. */
export function tokenInfo(cluster: string, hub: string, node: string): string {
  return [cluster, hub, node].join("\0");
}

/** What a node signs with its new key (RSA PKCS #1 v1.5, SHA-256): that it has it, and for whom. */
export function possessionText(clusterId: string, hub: string, node: string, token: string): string {
  return ["kubedos enrollment", clusterId, hub, node, token].join("\0");
}

export const keyHeader = "x-kubedos-key";

/** Characters of a token: 32 bytes as base64url without padding. */
export const tokenPattern = /^[A-Za-z0-9_-]{43}$/;

export const enrollLimits = {
  bodyBytes: 8 * 1024,
  /** Refused requests of one node within a window; then it is locked until the window is opened anew. */
  tries: 5,
  windowMinutes: 24 * 60,
  tokenMinutes: 7 * 24 * 60,
  keyBits: { least: 2048, most: 4096 },
} as const;

export interface JoinRequest {
  token: string;
  /** RSA public key, PEM (SubjectPublicKeyInfo). */
  publicKey: string;
  /** Signature of `possessionText`, base64. */
  proof: string;
}

/** Why a request was refused. */
export const joinRefusals = [
  "closed", // no window is open
  "locked", // too many refused requests
  "malformed",
  "wrong key", // no RSA key, too short, or the proof does not fit
  "unknown token",
  "token of another node", // and it is void from now on
  "used token",
  "expired token",
  "key of another node",
] as const;
export type JoinRefusal = (typeof joinRefusals)[number];

/** How a node's own request stands. `fingerprint`: of the key that this is about. */
export interface JoinAnswer {
  window: "open" | "closed";
  state: "none" | "waiting" | "accepted" | "denied";
  fingerprint?: string;
  /** Answer to a request that was refused. */
  refused?: JoinRefusal;
}

/** What a hub is told about a token. */
export interface TokenRecord {
  node: string;
  /** sha256 of the token for this hub, hex. */
  hash: string;
  /** From now, so that clocks need not agree. */
  validSeconds: number;
}

export type EnrollCommand =
  | { command: "open"; seconds: number; approval: boolean; tokens: TokenRecord[] }
  | { command: "tokens"; tokens: TokenRecord[] }
  | { command: "close" }
  | { command: "list" }
  /** `fingerprint`: only if this is the key that waits. */
  | { command: "approve" | "deny"; node: string; fingerprint?: string };

export type EnrollReply = { ok: true; data: EnrollList } | { ok: false; error: string; hint?: string };

export interface EnrollNode {
  node: string;
  state: "none" | "waiting" | "accepted" | "denied";
  /** Of the key that waits, was accepted or denied, as `salt-key -F` shows it. */
  fingerprint?: string;
  /** Of the accepted key that the waiting one would replace. */
  replaces?: string;
  /** ISO 8601, UTC. */
  since?: string;
  /** Fingerprint of the key that the node has itself, as it last said since this service started. */
  shows?: string;
  token: "none" | "valid" | "used" | "expired";
  /** Refused requests in this window. */
  refused: number;
}

/** How the enrollment on one hub stands. Times are the hub's, ISO 8601, UTC. */
export interface EnrollList {
  hub: string;
  mode: EnrollmentMode;
  window?: { openedAt: string; closesAt: string; by: string; approval: boolean };
  nodes: EnrollNode[];
  audit: { lines: number; broken?: string };
}

export type AuditEvent =
  | "opened"
  | "closed"
  | "expired" // the window, or a request that waited when the window ended
  | "token" // was registered
  | "requested"
  | "approved"
  | "accepted"
  | "denied"
  | "refused"
  | "removed"
  | "recovered"; // a line that was cut off, by a loss of power or a full disk, was taken away

export interface AuditEntry {
  event: AuditEvent;
  node?: string;
  /** Who: `operator NAME`, `console`, `layer` (known beforehand), `token`, or `hub`. */
  by?: string;
  reason?: string;
  fingerprint?: string;
}

/** One line of the audit log. */
export type AuditLine = { seq: number; at: string; previous: string } & AuditEntry;

/** `previous` of the first line. */
export const auditStart = "0".repeat(64);

/**
 * Checks the chain of an audit log: each line names the sha256 of the one before.
 *
 * @param text whole lines
 * @param sha256 gives hex
 * @returns the lines, the hash of the last one, and the first thing that is wrong
 */
export function readAudit(
  text: string,
  sha256: (line: string) => string,
): { lines: AuditLine[]; hashes: string[]; broken?: string } {
  const lines: AuditLine[] = [];
  const hashes: string[] = [];
  for (const raw of text.split("\n").filter((line) => line !== "")) {
    const line = parseLine(raw);
    const place = `line ${lines.length + 1}`;
    if (line === undefined) return { lines, hashes, broken: `${place} cannot be read` };
    if (line.seq !== lines.length + 1 || line.previous !== (hashes.at(-1) ?? auditStart)) {
      return { lines, hashes, broken: `${place} does not follow the line before it` };
    }
    lines.push(line);
    hashes.push(sha256(raw));
  }
  return { lines, hashes };
}

function parseLine(raw: string): AuditLine | undefined {
  try {
    const line = JSON.parse(raw) as Partial<AuditLine> | null;
    const sound =
      typeof line?.seq === "number" &&
      typeof line.at === "string" &&
      typeof line.previous === "string" &&
      typeof line.event === "string";
    return sound ? (line as AuditLine) : undefined;
  } catch {
    return undefined;
  }
}

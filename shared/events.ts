/**
 * The one event log of kubedos. Build stages, machines, gates and the node agent all speak it; the terminal,
 * `--json` (one object a line), the dashboard and the reports render it.
 */

/** Phases of a node, in boot order. `failed` may follow any of them. */
export const nodePhases = [
  "defined", // the machine's files exist
  "started", // firmware or container start
  "sealed", // verity root mapped, seed opened (initrd done)
  "rendered", // the node wrote its own configuration from the cluster layer
  "planes", // every WireGuard interface is up
  "fabric", // every peer answered on every plane
  "ready", // every gate of the node passed
  "stopped",
  "failed",
] as const;
export type NodePhase = (typeof nodePhases)[number];

export type GateOutcome = "passed" | "failed";

/** Facts of one plane as the node sees it. Ages in seconds, counters in bytes. */
export interface PlaneFacts {
  name: string;
  address: string;
  peers: number;
  /** Age of the oldest "latest handshake" of any peer; absent while a peer has none. */
  oldestHandshakeSeconds?: number;
  receivedBytes: number;
  sentBytes: number;
}

/** One certificate of the node. */
export interface CertificateFacts {
  purpose: string;
  /** ISO 8601, UTC. */
  notBefore: string;
  notAfter: string;
  /** By the node's own clock, and from the authority that its cluster layer names. */
  valid: boolean;
}

/** What a node says of itself. Absent means: could not be read. */
export interface NodeFacts {
  kernel?: string;
  /** Secure Boot enforced by the firmware (EFI variable SecureBoot = 1). */
  secureBoot?: boolean;
  /** Firmware still accepts new keys (EFI variable SetupMode = 1). */
  setupMode?: boolean;
  /** `none`, `integrity` or `confidentiality`. */
  lockdown?: string;
  tpm?: boolean;
  /** What /var is; absent until it is mounted, and in containers. */
  state?: "encrypted" | "plain" | "volatile";
  /** dm-verity root hash of the mounted root, hex. */
  rootHash?: string;
  /** Unsealed substrates (nspawn) have no verity root. */
  sealed: boolean;
  uptimeSeconds: number;
  memoryTotalBytes?: number;
  memoryAvailableBytes?: number;
  planes: PlaneFacts[];
  certificates?: CertificateFacts[];
}

/**
 * Why a hub took no notice of somebody: `unknown` name, a known name with `another key`, or a key that waits for
 * somebody to accept it, which nobody should.
 */
export type RefusalReason = "unknown" | "another key" | "waiting";

export type LogLevel = "debug" | "info" | "warn" | "error";

/** How a stage of the convergence stands. `kept`: done before, on these same boots of the nodes. */
export type ConvergeStageStatus =
  | "waiting"
  | "running"
  | "done"
  | "failed"
  | "blocked" // something that it needs has failed
  | "skipped" // this platform or this run has no use for it
  | "kept"
  | "interrupted";

/** What a stage did to one node; numbers count tasks. */
export interface ConvergeNodeResult {
  ok: number;
  changed: number;
  failed: number;
  unreachable: number;
  skipped: number;
  /** From the node's first task to the end of its last one. */
  seconds: number;
  /** When its first task began, since the begin of the run; absent: it was never begun, or an earlier version ran. */
  startSeconds?: number;
}

/** The first thing that went wrong in a stage. */
export interface ConvergeFailure {
  /** Absent where no single node is to blame. */
  node?: string;
  task?: string;
  message: string;
}

/** One event without its time; `at` (ISO 8601, UTC) is added where it is written. */
export type EventBody =
  | { type: "run.started"; verb: string; spec?: string }
  | { type: "run.done"; verb: string; seconds: number }
  | { type: "run.failed"; verb: string; message: string; hint?: string }
  | { type: "stage.started"; stage: string; id: string }
  | { type: "stage.progress"; stage: string; done: number; total: number; unit: "bytes" | "items"; note?: string }
  | { type: "stage.cached"; stage: string; id: string }
  | { type: "stage.done"; stage: string; id: string; seconds: number; sizeBytes?: number }
  | { type: "stage.failed"; stage: string; id: string; message: string }
  | { type: "artifact"; target: string; path: string; sizeBytes: number; sha256: string }
  | { type: "node.phase"; node: string; phase: NodePhase; uptimeSeconds?: number; note?: string }
  | { type: "node.facts"; node: string; facts: NodeFacts }
  | { type: "node.reply"; node: string; id: string; ok: boolean; data?: unknown; error?: string }
  | { type: "converge.started"; run: string; stages: string[]; nodes: string[]; check: boolean }
  | {
      type: "converge.stage";
      run: string;
      stage: string;
      status: ConvergeStageStatus;
      /** When it began, since the begin of the run. */
      startSeconds?: number;
      seconds?: number;
      changed?: number;
      failure?: ConvergeFailure;
    }
  | { type: "converge.node"; run: string; stage: string; node: string; result: ConvergeNodeResult }
  | { type: "converge.task"; run: string; stage: string; node: string; task: string; outcome: "changed" | "failed" }
  | {
      type: "converge.done";
      run: string;
      outcome: "passed" | "failed" | "interrupted";
      seconds: number;
      changed: number;
      /** Nodes that never came, or went away. */
      lost: { node: string; reason: string }[];
    }
  | { type: "enroll.refused"; node: string; name: string; reason: RefusalReason; fingerprint: string }
  | { type: "gate.passed"; gate: string; summary: string }
  | { type: "gate.failed"; gate: string; summary: string; hint?: string }
  | { type: "log"; level: LogLevel; message: string; hint?: string };

export type KubedosEvent = { at: string } & EventBody;

/** Receives events; adding the time is the receiver's business. */
export type Emit = (event: EventBody) => void;

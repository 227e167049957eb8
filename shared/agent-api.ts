import type { EnrollList } from "./enroll.ts";
import type { NodeFacts, NodePhase } from "./events.ts";

/**
 * How the operator's machine and a node's agent talk.
 *
 * Events: the agent appends one JSON object a line (`KubedosEvent`) to the events port. qemu: the virtio-serial
 * port `kubedos.events`, which QEMU writes to a file. nspawn: the file `/run/kubedos/host/events.jsonl`.
 * Control: the operator's side writes one `AgentRequest` a line; the answer is a `node.reply` event with its id.
 * qemu: the virtio-serial port `kubedos.control`. nspawn: the unix socket `/run/kubedos/host/control.sock`.
 * The same events go to the journal, and `GET /status` on the control plane (wg1) answers with `AgentStatus`.
 */

export const agentPorts = { events: "kubedos.events", control: "kubedos.control" } as const;

/** TCP port of the agent's HTTP status on the control plane. */
export const agentHttpPort = 7443;

export type AgentRequest =
  | { id: string; command: "facts" }
  /** Ping every peer on every plane `count` times. Answer: `FabricProbe`. */
  | { id: string; command: "fabric"; count: number }
  /** Sockets that listen on this node. Answer: `ListeningSocket[]`. */
  | { id: string; command: "listening" }
  /** Try TCP connections and UDP datagrams to these endpoints. Answer: `ScanResult[]`. */
  | { id: string; command: "scan"; targets: ScanTarget[]; timeoutMs: number }
  /** Drop every packet of a plane on this node for so long. Answer: an empty object. */
  | { id: string; command: "isolate"; plane: string; seconds: number }
  /** Try one target every `everyMs` for `durationMs`. Answer: `Outage`. */
  | { id: string; command: "outage"; target: ScanTarget; durationMs: number; everyMs: number }
  /** Hubs with Salt: whose keys are known, and which minions answer. Answer: `EnrollmentFacts`. */
  | { id: string; command: "enrollment" }
  | { id: string; command: "poweroff" };

export interface FabricProbe {
  pairs: {
    plane: string;
    peer: string;
    address: string;
    sent: number;
    received: number;
    /** Round trip of the answers in milliseconds; absent where none came. */
    averageMs?: number;
  }[];
}

/** Names of minions by what the hub's Salt master has decided about their keys, and those that answer a ping now. */
export interface EnrollmentFacts {
  accepted: string[];
  waiting: string[];
  rejected: string[];
  denied: string[];
  answering: string[];
  /** How the enrollment on this hub stands; absent: its service has not said so. */
  enrollment?: EnrollList;
}

export interface ListeningSocket {
  protocol: "tcp" | "udp";
  address: string;
  port: number;
  process?: string;
}

export interface ScanTarget {
  protocol: "tcp" | "udp";
  address: string;
  port: number;
}

/**
 * `open`: connected or answered; `refused`: reset or ICMP unreachable; `silent`: no answer within the time limit.
 */
export interface ScanResult extends ScanTarget {
  outcome: "open" | "refused" | "silent";
}

/** How long a target was away while it was tried. */
export interface Outage {
  attempts: number;
  failures: number;
  /** From the last answer before to the first answer after, milliseconds. */
  longestMs: number;
  answersAtEnd: boolean;
}

export interface AgentStatus {
  node: string;
  cluster: string;
  phase: NodePhase;
  facts: NodeFacts;
}

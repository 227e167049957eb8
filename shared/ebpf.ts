/**
 * What the recorder of the feature `ebpf` writes: one JSON object a line. A flow is a TCP connection that has ended, seen
 * from this node; connections within the node are left out.
 */
export type TcpRecord = FlowRecord | RetransmitRecord;

interface TcpEnds {
  /** ISO 8601, UTC. */
  at: string;
  node: string;
  /** Of the local address; `underlay` where it is the node's address there, absent where it is neither. */
  plane?: string;
  local: string;
  localPort: number;
  remote: string;
  remotePort: number;
  /** Name of the node at the other end; absent: somebody else, an operator for instance. */
  peer?: string;
}

export interface FlowRecord extends TcpEnds {
  type: "flow";
  direction: "out" | "in";
  /** Who asked for the connection, as the kernel calls the thread (at most 15 bytes); only of direction `out`. */
  program?: string;
  seconds: number;
  sentBytes: number;
  /** As the kernel counts: one more where the other side has closed. */
  receivedBytes: number;
  retransmits: number;
  /** Smoothed, as the kernel had it at the end. */
  roundTripMs: number;
}

export interface RetransmitRecord extends TcpEnds {
  type: "retransmit";
  /** State of the connection: `ESTABLISHED`, `SYN_SENT` … */
  state: string;
}

/** Where things of the recorder are on a node. */
export const ebpfPaths = {
  script: "/usr/lib/kubedos/tcp.bt",
  /** The newest; older ones are `tcp.1.jsonl` and so on. */
  records: "/var/lib/kubedos/ebpf/tcp.jsonl",
} as const;

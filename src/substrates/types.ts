import type { AgentRequest } from "../../shared/agent-api.ts";
import type { KubedosEvent } from "../../shared/events.ts";
import type { RunContext } from "../host/context.ts";
import type { SpecPaths } from "../host/paths.ts";
import type { Spec, SpecNode, SubstrateName } from "../spec/types.ts";

/** Everything a substrate needs to place the machines of one cluster. */
export interface Lab {
  spec: Spec;
  paths: SpecPaths;
  /** Files made by the build. qemu: `image` is the raw artifact; nspawn: `tree` the root directory. */
  artifacts: LabArtifacts;
}

export interface LabArtifacts {
  /** sha256 of the raw image (qemu) or of the platform tree (nspawn): what `status` shows. */
  hash: string;
  /** Absolute path of the sealed raw image. */
  image?: string;
  /** Absolute path of the root directory for nspawn. */
  tree?: string;
  /** Absolute path of the directory with the cluster layer's files (nspawn). */
  layer: string;
  /** OVMF code (Secure Boot build) and variables enrolled with the foundry's keys (qemu). */
  firmware?: { code: string; vars: string };
  /** Absolute path of the tar with the cluster's own apt repository, for the hubs. */
  darksite?: string;
}

/** One node's seed, as a file and, for substrates without an initrd, as its verified contents. */
export interface NodeSeed {
  /** The signed seed disk. */
  disk: Uint8Array;
  /** Credential name → value; only handed over by substrates that have no initrd of their own. */
  credentials: Record<string, Uint8Array>;
}

export type MachineState = "absent" | "stopped" | "running";

export interface MachineStatus {
  node: string;
  state: MachineState;
  pid?: number;
  artifact?: string;
}

/**
 * Where machines live. Every call can be repeated; `start` of a running machine does nothing. State survives the
 * end of the kubedos process. A machine carries an ownership mark (its state directory); nothing else is touched.
 */
export interface Substrate {
  name: SubstrateName;
  /** Whether the machines boot the sealed artifact (else `status` says so). */
  sealed: boolean;
  /** What the host lacks for this substrate, as findings with a hint each; empty: ready. */
  missing(): Promise<{ what: string; hint: string }[]>;
  /** Makes the isolated network of the cluster. */
  prepare(lab: Lab, context: RunContext): Promise<void>;
  start(lab: Lab, node: SpecNode, seed: NodeSeed, context: RunContext): Promise<void>;
  status(lab: Pick<Lab, "paths" | "spec">): Promise<MachineStatus[]>;
  /** Events that the node has written since `offset` bytes of its event log, and the new offset. */
  events(lab: Pick<Lab, "paths">, node: string, offset: number): Promise<{ events: KubedosEvent[]; offset: number }>;
  /** Sends one request to the node's agent; the answer comes as a `node.reply` event. */
  request(lab: Pick<Lab, "paths">, node: string, request: AgentRequest): Promise<void>;
  /** Path of the serial console's log. */
  consoleLog(paths: SpecPaths, node: string): string;
  /** How to attach a terminal to the node's console: a socket with its bytes, or a command that takes the terminal. */
  consoleAttachment(paths: SpecPaths, node: string): Promise<{ socket: string } | { command: string; args: string[] }>;
  /** Stops one machine (graceful first, then by force) and keeps its state. */
  stop(lab: Pick<Lab, "paths" | "spec">, node: string, context: RunContext): Promise<void>;
  /** Removes machines, network and state that `prepare` and `start` made, and nothing else. */
  destroy(lab: Pick<Lab, "paths" | "spec">, context: RunContext): Promise<void>;
}

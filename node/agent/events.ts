import { constants, existsSync, writeSync } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { agentPorts } from "../../shared/agent-api.ts";
import type { Emit, EventBody, KubedosEvent } from "../../shared/events.ts";
import type { NodePaths } from "./paths.ts";
import { virtioPort } from "./ports.ts";
import { sleep } from "./text.ts";

/** Where the agent's events go. */
export interface EventLog {
  emit: Emit;
  /** Waits until everything so far is written, at most so long; tells whether it is. */
  flush(timeoutMs: number): Promise<boolean>;
}

const mostWaiting = 2_000;
const longestRetryMs = 2_000;

/**
 * Events go to the journal (standard output) at once, and in order to the events port or the shared file. Until the
 * port is there, they wait; of many that wait the oldest are given up.
 */
export function openEventLog(paths: NodePaths): EventLog {
  const waiting: string[] = [];
  let pump: Promise<void> | undefined;
  let target: FileHandle | undefined;
  let retryMs = 100;

  async function write(): Promise<void> {
    while (waiting.length > 0) {
      try {
        target ??= await openTarget(paths);
        if (target !== undefined) {
          await writeAll(target, waiting[0]!);
          waiting.shift();
          retryMs = 100;
          continue;
        }
      } catch {
        // The port went away (or is held by an agent that is ending): open it anew.
        await target?.close().catch(() => undefined);
        target = undefined;
      }
      await sleep(retryMs);
      retryMs = Math.min(retryMs * 1.5, longestRetryMs);
    }
    pump = undefined;
  }

  function emit(body: EventBody): void {
    const event: KubedosEvent = { at: new Date().toISOString(), ...body };
    const line = `${JSON.stringify(event)}\n`;
    toJournal(line);
    // Index 0 may be half written.
    if (waiting.length >= mostWaiting) waiting.splice(1, 1);
    waiting.push(line);
    pump ??= write();
  }

  async function flush(timeoutMs: number): Promise<boolean> {
    const end = Date.now() + timeoutMs;
    while (waiting.length > 0 && Date.now() < end) await sleep(50);
    return waiting.length === 0;
  }

  return { emit, flush };
}

async function openTarget(paths: NodePaths): Promise<FileHandle | undefined> {
  if (existsSync(paths.hostDirectory)) return open(join(paths.hostDirectory, "events.jsonl"), "a", 0o644);
  const device = virtioPort(paths, agentPorts.events);
  return device === undefined ? undefined : open(device, constants.O_WRONLY | constants.O_NOCTTY);
}

/** A virtio port takes at most 32 KiB in one write. */
async function writeAll(target: FileHandle, line: string): Promise<void> {
  let rest = Buffer.from(line);
  while (rest.length > 0) {
    const { bytesWritten } = await target.write(rest);
    rest = rest.subarray(bytesWritten);
  }
}

function toJournal(line: string): void {
  try {
    writeSync(1, line);
  } catch {
    // Nobody reads it: the event port is what counts.
  }
}

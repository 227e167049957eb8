import { chmodSync, constants, existsSync, rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { agentPorts } from "../../shared/agent-api.ts";
import type { Emit } from "../../shared/events.ts";
import { lineSplitter, maxLineBytes } from "./lines.ts";
import type { NodePaths } from "./paths.ts";
import { virtioPort } from "./ports.ts";
import { messageOf, sleep } from "./text.ts";

const shortestIdleMs = 100;
const longestIdleMs = 1_000;

/**
 * Hands every line of the control port to `onLine`. Under nspawn the port is a unix socket in the directory shared
 * with the host, made here. Does not end.
 */
export async function serveControl(paths: NodePaths, emit: Emit, onLine: (line: string) => void): Promise<void> {
  function onTooLong(): void {
    emit({
      type: "log",
      level: "warn",
      message: `a control line is longer than ${maxLineBytes} bytes and was left out`,
    });
  }
  if (existsSync(paths.hostDirectory)) return serveSocket(join(paths.hostDirectory, "control.sock"), onLine, onTooLong);
  return servePort(paths, lineSplitter(onLine, onTooLong), emit);
}

async function serveSocket(path: string, onLine: (line: string) => void, onTooLong: () => void): Promise<void> {
  const { createServer } = await import("node:net");
  rmSync(path, { force: true }); // of an agent before this one
  const server = createServer((socket) => {
    socket.on("data", lineSplitter(onLine, onTooLong));
    socket.on("error", () => socket.destroy());
    socket.on("end", () => socket.end());
  });
  server.maxConnections = 32;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
}

/**
 * A read of a virtio port waits in the kernel while the host is connected, and gives 0 bytes while it is not; the
 * wait before asking again grows to a second, so an idle node costs next to nothing.
 */
async function servePort(paths: NodePaths, onData: (chunk: Uint8Array) => void, emit: Emit): Promise<void> {
  const buffer = Buffer.alloc(64 * 1024);
  let reported = "";
  for (;;) {
    const device = virtioPort(paths, agentPorts.control);
    try {
      if (device !== undefined) await readPort(device, buffer, onData);
    } catch (error) {
      // The port is held by an agent that is ending, or was unplugged.
      const message = messageOf(error);
      if (message !== reported) emit({ type: "log", level: "warn", message: `control port: ${message}` });
      reported = message;
    }
    await sleep(longestIdleMs);
  }
}

async function readPort(device: string, buffer: Buffer, onData: (chunk: Uint8Array) => void): Promise<void> {
  const port = await open(device, constants.O_RDONLY | constants.O_NOCTTY);
  try {
    let idleMs = shortestIdleMs;
    for (;;) {
      const { bytesRead } = await port.read(buffer, 0, buffer.length);
      if (bytesRead > 0) {
        onData(buffer.subarray(0, bytesRead));
        idleMs = shortestIdleMs;
        continue;
      }
      await sleep(idleMs);
      idleMs = Math.min(idleMs * 2, longestIdleMs);
    }
  } finally {
    await port.close();
  }
}

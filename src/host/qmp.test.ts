import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test } from "vitest";
import { qmp } from "./qmp.ts";

let directory: string;
let path: string;
let server: Server | undefined;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-qmp-"));
  path = join(directory, "qmp");
});
afterEach(async () => {
  server?.close();
  server = undefined;
  await rm(directory, { recursive: true, force: true });
});

/** Listens like QEMU: a greeting, then `reply` to each line. */
async function serve(greeting: string, reply: (message: { execute: string; id: string }) => unknown): Promise<void> {
  server = createServer((socket) => {
    socket.on("error", () => undefined);
    const lines = createInterface({ input: socket });
    lines.on("error", () => undefined);
    lines.on("line", (line) => socket.write(`${JSON.stringify(reply(JSON.parse(line)))}\n`));
    socket.write(`${greeting}\n`);
  });
  await new Promise<void>((resolve) => server!.listen(path, resolve));
}

const greeting = JSON.stringify({ QMP: { version: {}, capabilities: [] } });

test("greets, and returns the answer to the command", async () => {
  await serve(greeting, ({ execute, id }) => ({ id, return: execute === "query-status" ? { running: true } : {} }));
  expect(await qmp(path, "query-status")).toEqual({ running: true });
});

test("nobody there, a refusal, nonsense and silence are errors that name the socket; none escapes", async () => {
  await expect(qmp(path, "query-status")).rejects.toThrow(`QEMU (${path}): query-status: connect ENOENT`);
  await serve(greeting, ({ execute, id }) =>
    execute === "quit" ? { id, error: { desc: "not now" } } : { id, return: {} },
  );
  await expect(qmp(path, "quit")).rejects.toThrow("quit: not now");
  server!.close();
  await serve("SSH-2.0", () => ({}));
  await expect(qmp(path, "quit")).rejects.toThrow("not an answer: SSH-2.0");
  server!.close();
  await serve("{}", () => ({}));
  await expect(qmp(path, "quit", {}, 100)).rejects.toThrow("no answer within 0.1 s");
});

import { appendFile, mkdtemp, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readEvents } from "./machines.ts";

describe("a node's event log", () => {
  let directory: string;
  let log: string;
  const event = (node: string, phase = "planes") =>
    `${JSON.stringify({ at: "2025-01-01T00:00:00Z", type: "node.phase", node, phase })}\n`;
  const read = (offset: number) => readEvents(log, "hub", offset);

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "kubedos-events-"));
    log = join(directory, "events.jsonl");
  });

  afterEach(() => rm(directory, { recursive: true }));

  test("that does not exist yet has no events", async () => {
    expect(await read(0)).toEqual({ events: [], offset: 0 });
  });

  test("is read on from where it was left, whole lines only", async () => {
    const line = event("hub", "fabric");
    await writeFile(log, event("hub") + line.slice(0, 20));
    const first = await read(0);
    expect(first.events).toMatchObject([{ phase: "planes" }]);
    expect(await read(first.offset)).toEqual({ events: [], offset: first.offset });
    await appendFile(log, line.slice(20));
    const second = await read(first.offset);
    expect(second.events).toMatchObject([{ phase: "fabric" }]);
    expect(await read(second.offset)).toEqual({ events: [], offset: second.offset });
  });

  test("cuts no character in two", async () => {
    const text = Buffer.from(`${JSON.stringify({ at: "x", type: "log", level: "info", message: "für" })}\n`);
    const middle = text.indexOf(0xc3) + 1;
    await writeFile(log, text.subarray(0, middle));
    const { offset } = await read(0);
    await appendFile(log, text.subarray(middle));
    expect((await read(offset)).events).toMatchObject([{ message: "für" }]);
  });

  test("is read from its start again when it has become shorter", async () => {
    await writeFile(log, event("hub").repeat(5));
    const { offset } = await read(0);
    await truncate(log, 0);
    await appendFile(log, event("hub", "rendered"));
    expect((await read(offset)).events).toMatchObject([{ phase: "rendered" }]);
  });

  test("may hold anything: what is no event, or another node's, is passed over", async () => {
    await writeFile(log, `\n{\nnull\n[]\n"x"\n{"type":1}\n\u0000\n${event("core")}${event("hub")}`);
    expect((await read(0)).events).toMatchObject([{ node: "hub" }]);
  });

  test("with a line too long to be an event is read on after it", async () => {
    await writeFile(log, `${"x".repeat(9 * 1024 * 1024)}\n${event("hub")}`);
    let offset = 0;
    const seen = [];
    for (let round = 0; round < 5; round++) {
      const next = await read(offset);
      seen.push(...next.events);
      offset = next.offset;
    }
    expect(seen).toMatchObject([{ node: "hub" }]);
  });

  test("is not followed where it is a link", async () => {
    await writeFile(join(directory, "other"), event("hub"));
    await symlink(join(directory, "other"), log);
    expect(await read(0)).toEqual({ events: [], offset: 0 });
  });
});

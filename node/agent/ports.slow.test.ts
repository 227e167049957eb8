import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { KubedosEvent } from "../../shared/events.ts";
import { nodeFlags } from "../../shared/node-flags.ts";
import { bundledAgent, makeNodeRoot, type NodeRoot } from "./testing.ts";

// A machine's agent, its virtio-serial ports played by a file (events) and a FIFO (control): like the real control
// port, a FIFO makes a read wait while the other side is connected and gives 0 bytes once it is gone.
let node: NodeRoot;
let agent: ChildProcess;

beforeEach(() => {
  node = makeNodeRoot("hub-1");
});
afterEach(() => {
  agent.kill("SIGKILL");
  rmSync(node.root, { recursive: true });
});

function start(): void {
  const own = process.getuid?.() === 0 ? ["--net"] : ["--map-root-user", "--net"];
  const args = [...own, process.execPath, ...nodeFlags, bundledAgent(), "boot", "--root", node.root];
  agent = spawn("unshare", args, { stdio: ["ignore", "ignore", "inherit"] });
}

async function eventsAt(path: string, count: number): Promise<KubedosEvent[]> {
  let lines: string[] = [];
  for (let tries = 0; lines.length < count && tries < 200; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 25));
    lines = readFileSync(join(node.root, path), "utf8").split("\n").slice(0, -1);
  }
  return lines.map((line) => JSON.parse(line) as KubedosEvent);
}

test("events wait for a port that appears late, before udev has named it", async () => {
  node.write("/run/kubedos/roothash", "ab".repeat(32));
  start();
  await new Promise((resolve) => setTimeout(resolve, 400));
  node.write("/sys/class/virtio-ports/vport1p1/name", "kubedos.other\n");
  node.write("/dev/vport1p1", "");
  node.write("/sys/class/virtio-ports/vport1p2/name", "kubedos.events\n");
  node.write("/dev/vport1p2", "");
  expect(await eventsAt("/dev/vport1p2", 2)).toMatchObject([
    { type: "node.phase", node: "hub-1", phase: "sealed" },
    { type: "node.phase", node: "hub-1", phase: "rendered" },
  ]);
  expect(readFileSync(join(node.root, "/dev/vport1p1"), "utf8")).toBe("");
});

test("requests come through the port, also after the host has left and come back", async () => {
  const events = "/dev/virtio-ports/kubedos.events";
  const control = join(node.root, "/dev/virtio-ports/kubedos.control");
  node.write(events, "");
  execFileSync("mkfifo", [control]);
  start();
  expect(await eventsAt(events, 1)).toMatchObject([{ phase: "rendered" }]);
  for (const [at, id] of ["one", "two", "three"].entries()) {
    writeFileSync(control, `{"id":"${id}","command":"facts"}\n`);
    const seen = await eventsAt(events, at + 2);
    expect(seen[at + 1]).toMatchObject({ type: "node.reply", id, ok: true, data: { planes: [] } });
  }
});

test("the bundle is the same every time and names no place of the machine that made it", () => {
  start();
  const first = readFileSync(bundledAgent(), "utf8");
  expect(readFileSync(bundledAgent(), "utf8")).toBe(first);
  expect(first).not.toContain(join(import.meta.dirname, "../.."));
});

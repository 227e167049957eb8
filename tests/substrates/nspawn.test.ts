import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { delay } from "../../src/host/clock.ts";
import { run } from "../../src/host/run.ts";
import { machineDirectory } from "../../src/substrates/machines.ts";
import { nspawnSubstrate as nspawn } from "../../src/substrates/nspawn/index.ts";
import { makeLab, removeLab, type TestLab } from "./lab.ts";

describe("nspawn", () => {
  let lab: TestLab;

  beforeEach(async () => {
    lab = await makeLab("nspawn");
    await nspawn.prepare(lab, lab.context);
    await nspawn.start(lab, lab.spec.nodes[0]!, lab.seed, lab.context);
    await consoleShows("up\n");
  });

  afterEach(() => nspawn.destroy(lab, lab.context).finally(() => removeLab(lab)));

  it("gives the container its credentials, the cluster layer, one port of the bridge and a way to WireGuard", async () => {
    const text = await readFile(nspawn.consoleLog(lab.paths, "hub-1"), "utf8");
    expect(text).toContain("node: hub-1\n");
    expect(text).toContain("layer: 0123\n");
    expect(text).toMatch(/^links: host0 lo$/m);
    expect(text).toContain("/dev/net/tun\n");
    const kernel = await run("unshare", ["--net", "ip", "link", "add", "type", "wireguard"], { okStatuses: [0, 1, 2] });
    expect(text.includes("/run/kubedos/host/wireguard-go\n")).toBe(kernel.status !== 0);
  });

  it("reads the node's events", async () => {
    const { events, offset } = await nspawn.events(lab, "hub-1", 0);
    expect(events).toMatchObject([{ type: "node.phase", node: "hub-1", phase: "rendered" }]);
    expect(await nspawn.events(lab, "hub-1", offset)).toEqual({ events: [], offset });
  });

  it("hands requests to the node's agent, also below a long path", async () => {
    const lines: string[] = [];
    const server = createServer((socket) => socket.on("data", (bytes) => lines.push(bytes.toString())));
    const socket = join(machineDirectory(lab.paths, "hub-1"), "host/control.sock");
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    await nspawn.request(lab, "hub-1", { id: "1", command: "facts" });
    for (let tries = 0; tries < 100 && lines.length === 0; tries++) await delay(20);
    server.close();
    expect(lines).toEqual(['{"id":"1","command":"facts"}\n']);
  });

  it("leads a terminal into the container", async () => {
    const attachment = await nspawn.consoleAttachment(lab.paths, "hub-1");
    if (!("command" in attachment)) throw new Error("a command was expected");
    const enter = attachment.args.slice(0, attachment.args.indexOf("--") + 1);
    const { stdout } = await run(attachment.command, [...enter, "/bin/ls", "/sys/class/net", "/run/kubedos"]);
    expect(stdout).toBe("/run/kubedos:\nhost\nlayer\n\n/sys/class/net:\nhost0\nlo\n");
    await nspawn.stop(lab, "hub-1", lab.context);
    await expect(nspawn.consoleAttachment(lab.paths, "hub-1")).rejects.toThrow("hub-1 is not running");
  });

  it("asks the container to power off before it ends it", async () => {
    await nspawn.stop(lab, "hub-1", lab.context);
    expect(await consoleShows("powering off\n")).toContain("powering off\n");
  });

  it("starts with a clean event log, and keeps the last one", async () => {
    await nspawn.stop(lab, "hub-1", lab.context);
    const host = join(machineDirectory(lab.paths, "hub-1"), "host");
    await writeFile(join(host, "events.jsonl"), "old\n");
    await nspawn.start(lab, lab.spec.nodes[0]!, lab.seed, lab.context);
    expect(await readFile(join(host, "events.previous.jsonl"), "utf8")).toBe("old\n");
    expect(await readFile(join(host, "events.jsonl"), "utf8")).not.toContain("old");
  });

  async function consoleShows(text: string): Promise<string> {
    const log = nspawn.consoleLog(lab.paths, "hub-1");
    for (let tries = 0; tries < 200; tries++) {
      const shown = await readFile(log, "utf8");
      if (shown.includes(text)) return shown;
      await delay(25);
    }
    throw new Error(`the console does not show ${text}:\n${await readFile(log, "utf8")}`);
  }
});

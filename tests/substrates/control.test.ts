import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { delay } from "../../src/host/clock.ts";
import { sendLine } from "../../src/host/daemon.ts";

/** Requests through QEMU's own control socket, which serves one client at a time. The guest is a boot sector. */
describe("control socket of a real QEMU", () => {
  let directory: string;
  let socket: string;
  let answers: string;
  let machine: ChildProcess;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "kubedos-control-"));
    socket = join(directory, "control");
    answers = join(directory, "answers");
  });

  afterEach(async () => {
    machine.kill("SIGKILL");
    await rm(directory, { recursive: true });
  });

  it("takes every request whole and once, however many ask at once", async () => {
    await boot(copies);
    const lines = Array.from({ length: 24 }, (_, index) => JSON.stringify({ id: index, filler: "x".repeat(300) }));
    const senders: (typeof sendLine)[] = [];
    for (let count = 0; count < 4; count++) senders.push(await otherSender());
    await Promise.all(lines.map((line, index) => senders[index % senders.length]!(socket, line, 60_000)));
    await until(async () => (await answered()).length >= lines.length);
    expect((await answered()).toSorted()).toEqual(lines.toSorted());
  });

  it("waits for one that holds the socket, and is served after it", async () => {
    await boot(copies);
    const holder = createConnection(socket);
    await new Promise((resolve) => holder.once("connect", resolve));
    const sent = sendLine(socket, "after", 60_000);
    await expect(sendLine(socket, "too late", 300)).rejects.toThrow("does not take requests");
    holder.destroy();
    await sent;
    await until(async () => (await answered()).includes("after"));
  });

  it("says so when the guest does not read, to everybody who asks", async () => {
    await boot(hangs);
    const refused = Array.from({ length: 4 }, () => sendLine(socket, "x".repeat(100), 500));
    for (const outcome of await Promise.allSettled(refused)) {
      expect(outcome).toMatchObject({ status: "rejected", reason: { code: "failed" } });
      expect(String((outcome as PromiseRejectedResult).reason)).toContain("does not take requests");
    }
  });

  it("says so when the machine is killed while it is asked, and when it is gone", async () => {
    await boot(hangs);
    const asked = sendLine(socket, "x".repeat(100), 60_000);
    asked.catch(() => undefined);
    await delay(200);
    machine.kill("SIGKILL");
    await expect(asked).rejects.toThrow("nobody listens");
    await expect(sendLine(socket, "hello")).rejects.toThrow("nobody listens");
  });

  /** Starts QEMU with its first serial port as the control socket and its second as a file. */
  async function boot(code: string): Promise<void> {
    const sector = Buffer.alloc(64 * 1024);
    Buffer.from(code.replaceAll(" ", ""), "hex").copy(sector);
    sector.writeUInt16LE(0xaa55, 510);
    const disk = join(directory, "disk");
    await writeFile(disk, sector);
    const args = ["-accel", "tcg", "-m", "32", "-nodefaults", "-no-user-config", "-display", "none"];
    const control = ["-chardev", `socket,id=control,path=${socket},server=on,wait=off`, "-serial", "chardev:control"];
    const events = ["-chardev", `file,id=events,path=${answers}`, "-serial", "chardev:events"];
    const drive = ["-drive", `if=ide,format=raw,file=${disk}`];
    machine = spawn("qemu-system-x86_64", [...args, ...drive, ...control, ...events], { stdio: "ignore" });
    await until(async () => existsSync(socket));
  }

  async function answered(): Promise<string[]> {
    return (await readFile(answers, "utf8").catch(() => "")).split("\n").slice(0, -1);
  }
});

/** `sendLine` as another process has it: it shares nothing with this one's. */
async function otherSender(): Promise<typeof sendLine> {
  vi.resetModules();
  return (await import("../../src/host/daemon.ts")).sendLine;
}

/** cli; wait for a byte of the first serial port; write it to the second; again. */
const copies = "fa bafd03 ec a801 74f8 baf803 ec baf802 ee ebee";
/** cli; hlt; jmp to the hlt. */
const hangs = "fa f4 ebfd";

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await condition()) return;
    await delay(50);
  }
  throw new Error("it did not come to be");
}

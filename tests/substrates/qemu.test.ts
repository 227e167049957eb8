import { readFile, stat } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { delay } from "../../src/host/clock.ts";
import { qmp } from "../../src/host/qmp.ts";
import { run } from "../../src/host/run.ts";
import { machineDirectory } from "../../src/substrates/machines.ts";
import { macAddress } from "../../src/substrates/qemu/command.ts";
import { qemuSubstrate as qemu } from "../../src/substrates/qemu/index.ts";
import { makeLab, removeLab, type TestLab } from "./lab.ts";

/** A machine with a blank disk: its firmware runs, and says on the console that it finds nothing to boot. */
describe("qemu", () => {
  let lab: TestLab;
  const node = () => lab.spec.nodes[0]!;
  const file = (name: string) => join(machineDirectory(lab.paths, "hub-1"), name);
  const ask = (command: string) => qmp(join(lab.paths.runtime, "hub-1.qmp"), command);

  beforeEach(async () => {
    lab = await makeLab("qemu");
    await qemu.prepare(lab, lab.context);
    await qemu.start(lab, node(), lab.seed, lab.context);
  });

  afterEach(() => qemu.destroy(lab, lab.context).finally(() => removeLab(lab)));

  it("runs its firmware, shows it on the console's socket and keeps it in the console's log", async () => {
    const attachment = await qemu.consoleAttachment(lab.paths, "hub-1");
    if (!("socket" in attachment)) throw new Error("a socket was expected");
    const socket = connect(attachment.socket);
    let seen = "";
    socket.on("data", (bytes: Buffer) => (seen += bytes.toString("latin1")));
    for (let tries = 0; tries < 1200 && !seen.includes("BdsDxe"); tries++) await delay(50);
    socket.destroy();
    expect(seen).toContain("BdsDxe");
    expect(await readFile(qemu.consoleLog(lab.paths, "hub-1"), "latin1")).toContain("BdsDxe");
  });

  it("has the cores and memory of the spec, a TPM, random numbers and the agent's two ports", async () => {
    expect(await ask("query-cpus-fast")).toHaveLength(node().cpus);
    expect(await ask("query-memory-size-summary")).toEqual({
      "base-memory": node().memoryMiB * 2 ** 20,
      "plugged-memory": 0,
    });
    expect(await ask("query-tpm")).toMatchObject([{ model: "tpm-crb", options: { type: "emulator" } }]);
    expect(await ask("query-status")).toMatchObject({ status: "running" });
    expect(await ask("query-chardev")).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ label: "events", filename: "file" }),
        expect.objectContaining({ label: "control", "frontend-open": false }),
      ]),
    );
    await expect(ask("no-such-command")).rejects.toThrow("no-such-command has not been found");
  });

  it("writes to an overlay, never to the sealed image or the seed", async () => {
    const { stdout } = await run("qemu-img", ["info", "--force-share", "--output=json", file("disk.qcow2")]);
    expect(JSON.parse(stdout)).toMatchObject({
      format: "qcow2",
      "virtual-size": node().diskGiB * 2 ** 30,
      "full-backing-filename": lab.artifacts.image,
      "backing-filename-format": "raw",
    });
    const blocks = (await ask("query-block")) as {
      device: string;
      inserted?: { ro: boolean; image: { filename: string } };
    }[];
    const readOnly = Object.fromEntries(blocks.map((block) => [block.device, block.inserted?.ro]));
    expect(readOnly).toMatchObject({ disk: false, seed: true, pflash0: true, pflash1: false });
    expect(await readFile(file("seed.img"))).toEqual(Buffer.from(lab.seed.disk));
  });

  it("keeps the firmware's variables and the TPM's state over a restart, and takes a new seed", async () => {
    const inodes = async () => [(await stat(file("vars.fd"))).ino, (await stat(file("tpm"))).ino];
    const before = await inodes();
    await qemu.stop(lab, "hub-1", lab.context);
    await qemu.start(lab, node(), { ...lab.seed, disk: Buffer.alloc(4096, "next") }, lab.context);
    expect(await inodes()).toEqual(before);
    expect(await readFile(file("seed.img"), "latin1")).toMatch(/^(next)+$/);
  });

  it("stops at once a machine whose agent does not listen", async () => {
    await qemu.stop(lab, "hub-1", lab.context);
    expect(await qemu.status(lab)).toContainEqual(expect.objectContaining({ node: "hub-1", state: "stopped" }));
  });
});

it("a node's hardware address is stable, local and its own", () => {
  expect(macAddress("lab", "hub")).toBe(macAddress("lab", "hub"));
  expect(macAddress("lab", "hub")).toMatch(/^52:54:00(:[0-9a-f]{2}){3}$/);
  expect(new Set(["hub", "core-1", "core-2"].map((name) => macAddress("lab", name))).size).toBe(3);
  expect(macAddress("other", "hub")).not.toBe(macAddress("lab", "hub"));
});

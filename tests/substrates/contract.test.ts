import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { delay } from "../../src/host/clock.ts";
import { run } from "../../src/host/run.ts";
import { machineDirectory, readMachine, writeMachine } from "../../src/substrates/machines.ts";
import { bridge, inNetwork, runInNetwork } from "../../src/substrates/network.ts";
import { substrates } from "../../src/substrates/registry.ts";
import { substrateNames } from "../../src/spec/types.ts";
import { layerFile, makeLab, removeLab, type TestLab } from "./lab.ts";

/** What every substrate owes the rest of kubedos, on real machines of this host. */
describe.each(substrateNames)("substrate %s", (name) => {
  const substrate = substrates[name];
  let lab: TestLab;
  const hub = () => lab.spec.nodes[0]!;
  const start = (node = hub()) => substrate.start(lab, node, lab.seed, lab.context);
  const stateOf = async (node: string) => (await substrate.status(lab)).find((machine) => machine.node === node);
  const bystanders: number[] = [];

  beforeEach(async () => {
    lab = await makeLab(name);
    await substrate.prepare(lab, lab.context);
  });

  afterEach(async () => {
    for (const pid of bystanders.splice(0)) process.kill(pid, "SIGKILL");
    await substrate.destroy(lab, lab.context).finally(() => removeLab(lab));
  });

  it("lacks nothing on this host", async () => {
    expect(await substrate.missing()).toEqual([]);
  });

  it("makes one isolated network, however often it is asked to", async () => {
    const before = await linksOf(lab);
    await substrate.prepare(lab, lab.context);
    expect(await linksOf(lab)).toEqual(before);
    expect(before.map((link) => link.ifname).toSorted()).toEqual([bridge, "lo"]);
    expect(before.find((link) => link.ifname === bridge)?.mtu).toBe(lab.spec.underlay.mtu);
    const { stdout } = await run("ip", ["-j", "link", "show"]);
    expect(stdout).not.toContain(`"${bridge}"`);
  });

  it("completes a network that was left half-made", async () => {
    await runInNetwork(lab.paths, "ip", ["link", "delete", bridge], lab.context);
    await substrate.prepare(lab, lab.context);
    expect((await linksOf(lab)).map((link) => link.ifname)).toContain(bridge);
  });

  it("shows every node of the spec as absent before it is started", async () => {
    expect(await substrate.status(lab)).toEqual(lab.spec.nodes.map(({ name: node }) => ({ node, state: "absent" })));
  });

  it("starts one machine, however often it is asked to", async () => {
    await start();
    const first = await stateOf("hub-1");
    expect(first).toMatchObject({ state: "running", artifact: lab.artifacts.hash });
    await Promise.all([start(), start()]);
    expect(await stateOf("hub-1")).toEqual(first);
    await until(async () => (await ownProcesses(lab, "hub-1")).length === (name === "qemu" ? 2 : 1));
    expect(lab.events.filter((event) => event.type === "node.phase" && event.phase === "started")).toHaveLength(1);
  });

  it("keeps the seed for its owner", async () => {
    await start();
    const directory = machineDirectory(lab.paths, "hub-1");
    expect((await stat(directory)).mode & 0o077).toBe(0);
    const secret = name === "qemu" ? "seed.img" : "credentials/kubedos.node";
    expect((await stat(join(directory, secret))).mode & 0o777).toBe(0o600);
  });

  it("connects machines to the cluster's bridge", async () => {
    await start();
    const ports = (await linksOf(lab)).filter((link) => link.master === bridge);
    expect(ports).toHaveLength(1);
    expect(ports[0]?.flags).toContain("UP");
  });

  it("stops a machine, keeps its state, and starts it again", async () => {
    await start();
    if (name === "nspawn") await until(async () => (await consoleOf(lab)).includes("up\n")); // it minds signals now
    const kept = join(machineDirectory(lab.paths, "hub-1"), "machine.json");
    await substrate.stop(lab, "hub-1", lab.context);
    expect(await stateOf("hub-1")).toMatchObject({ state: "stopped" });
    expect(await ownProcesses(lab, "hub-1")).toEqual([]);
    expect(existsSync(kept)).toBe(true);
    await substrate.stop(lab, "hub-1", lab.context);
    await start();
    expect(await stateOf("hub-1")).toMatchObject({ state: "running" });
  });

  it("sees a machine that was killed, and starts it again", async () => {
    await start();
    const { pid } = (await stateOf("hub-1"))!;
    const containers = await containerNames(lab);
    const guests = await groupMembers(containers);
    process.kill(pid!, "SIGKILL");
    await until(async () => (await stateOf("hub-1"))?.state === "stopped");
    await start();
    expect((await groupMembers(containers)).filter((member) => guests.includes(member))).toEqual([]);
    const again = await stateOf("hub-1");
    expect(again?.state).toBe("running");
    expect(again?.pid).not.toBe(pid);
    await until(async () => (await ownProcesses(lab, "hub-1")).length === (name === "qemu" ? 2 : 1));
  });

  it("ends what a killed kubedos started and could not write down", async () => {
    await start();
    const record = (await readMachine(lab.paths, "hub-1"))!;
    await writeMachine(lab.paths, { ...record, process: undefined, helpers: [] });
    expect(await stateOf("hub-1")).toMatchObject({ state: "stopped" });
    await start();
    await until(async () => (await ownProcesses(lab, "hub-1")).length === (name === "qemu" ? 2 : 1));
    expect(await ownProcesses(lab, "hub-1")).not.toContain(record.process!.pid);
  });

  it("never touches a process that was given the pid of one of its own", async () => {
    await start();
    await substrate.stop(lab, "hub-1", lab.context);
    const bystander = spawn("sleep", ["600"], { detached: true, stdio: "ignore" });
    bystanders.push(bystander.pid!);
    const record = (await readMachine(lab.paths, "hub-1"))!;
    const recycled = { pid: bystander.pid!, startTime: "1" };
    await writeMachine(lab.paths, { ...record, process: recycled, helpers: [recycled] });
    expect(await stateOf("hub-1")).toMatchObject({ state: "stopped" });
    await substrate.stop(lab, "hub-1", lab.context);
    await substrate.destroy(lab, lab.context);
    expect(process.kill(bystander.pid!, 0)).toBe(true);
  });

  it("refuses a directory that is not its own, and leaves it alone", async () => {
    const directory = machineDirectory(lab.paths, "hub-1");
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, "precious"), "data");
    await expect(start()).rejects.toThrow("was not made by kubedos");
    await substrate.destroy(lab, lab.context);
    expect(await readFile(join(directory, "precious"), "utf8")).toBe("data");
    expect(lab.events).toContainEqual(expect.objectContaining({ type: "log", level: "warn" }));
  });

  it("refuses to start a machine of another cluster, substrate or artifact", async () => {
    await start();
    await substrate.stop(lab, "hub-1", lab.context);
    const record = (await readMachine(lab.paths, "hub-1"))!;
    for (const change of [{ cluster: "other" }, { substrate: "other" }, { artifact: "other" }]) {
      await writeMachine(lab.paths, { ...record, ...change });
      await expect(start()).rejects.toThrow(`hub-1 exists with another ${Object.keys(change)[0]}`);
    }
    await writeMachine(lab.paths, record);
  });

  it("leaves no process when a start fails", async () => {
    if (name === "qemu") lab.artifacts.firmware!.code = "/dev/null";
    else await writeFile(join(lab.artifacts.tree!, "sbin/init"), "no program");
    await expect(start()).rejects.toThrow(/qemu|not appear|did not start/);
    expect(await ownProcesses(lab, "hub-1")).toEqual([]);
    expect(await stateOf("hub-1")).toMatchObject({ state: "stopped" });
  });

  it("removes everything that it made, and nothing else", async () => {
    await start();
    await start(lab.spec.nodes[1]);
    await writeFile(join(lab.paths.state, "report.json"), "{}");
    const shell = await shellInNetwork(lab);
    const containers = await containerNames(lab);
    expect(containers).toHaveLength(name === "nspawn" ? 2 : 0);
    expect((await groups(containers)).length > 0).toBe(name === "nspawn");
    await substrate.destroy(lab, lab.context);
    expect(await readdir(lab.paths.state)).toEqual(["report.json"]);
    expect(existsSync(lab.paths.runtime)).toBe(false);
    expect(shell.exitCode ?? shell.signalCode).not.toBeNull();
    expect(existsSync(join(lab.artifacts.layer, layerFile))).toBe(true);
    expect(await groups(containers)).toEqual([]);
    expect(await allProcesses(lab)).toEqual([]);
    await substrate.destroy(lab, lab.context);
  });
});

interface Link {
  ifname: string;
  mtu: number;
  master?: string;
  flags: string[];
}

async function linksOf(lab: TestLab): Promise<Link[]> {
  const { stdout } = await runInNetwork(lab.paths, "ip", ["-j", "link", "show"], lab.context);
  return JSON.parse(stdout) as Link[];
}

async function consoleOf(lab: TestLab): Promise<string> {
  return readFile(substrates[lab.spec.substrate.name].consoleLog(lab.paths, "hub-1"), "utf8");
}

/** A program of an operator that runs in the cluster's network, as `kubedos ssh` does. */
async function shellInNetwork(lab: TestLab) {
  const inside = await inNetwork(lab.paths, "sleep", ["600"]);
  const child = spawn(inside.command, inside.args, { stdio: "ignore" });
  await until(async () => (await readFile(`/proc/${child.pid}/comm`, "utf8")).trim() === "sleep");
  return child;
}

async function ownProcesses(lab: TestLab, node: string): Promise<number[]> {
  return processes((environment) => environment.includes(`KUBEDOS_MARK=${machineDirectory(lab.paths, node)}`));
}

async function allProcesses(lab: TestLab): Promise<number[]> {
  return processes((environment, command) => [...environment, ...command].some((word) => word.includes(lab.root)));
}

async function processes(matches: (environment: string[], command: string[]) => boolean): Promise<number[]> {
  const found: number[] = [];
  for (const pid of (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry))) {
    const [environment, command] = await Promise.all(
      ["environ", "cmdline"].map((file) => readFile(`/proc/${pid}/${file}`, "utf8").catch(() => "")),
    );
    if (Number(pid) !== process.pid && matches(environment!.split("\0"), command!.split("\0"))) found.push(Number(pid));
  }
  return found;
}

const containerTraces = [
  "/sys/fs/cgroup",
  "/sys/fs/cgroup/unified",
  "/sys/fs/cgroup/systemd",
  "/run/systemd/nspawn/propagate",
];

/** Names of the lab's containers, as nspawn was told them. Others may run on this host. */
async function containerNames(lab: TestLab): Promise<string[]> {
  const found: string[] = [];
  for (const node of lab.spec.nodes) {
    for (const pid of await ownProcesses(lab, node.name)) {
      const words = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
      found.push(...words.filter((word) => word.startsWith("--machine=")).map((word) => word.slice(10)));
    }
  }
  return [...new Set(found)];
}

/** Control groups and directories of these containers on this host. */
async function groups(containers: string[]): Promise<string[]> {
  const lists = await Promise.all(
    containerTraces.map(async (path) => (await readdir(path).catch(() => [])).map((entry) => join(path, entry))),
  );
  return lists.flat().filter((path) => containers.includes(path.split("/").at(-1)!));
}

/** Processes in the control groups of these containers. */
async function groupMembers(containers: string[]): Promise<string[]> {
  const { stdout } = await run("find", [...(await groups(containers)), "/dev/null", "-name", "cgroup.procs"]);
  const files = stdout.split("\n").filter((file) => file !== "");
  const lists = await Promise.all(files.map((file) => readFile(file, "utf8").catch(() => "")));
  return lists.flatMap((text) => text.split("\n")).filter((pid) => pid !== "");
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (await condition()) return;
    await delay(50);
  }
  throw new Error("it did not come to be");
}

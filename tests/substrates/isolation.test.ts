import { existsSync } from "node:fs";
import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { operatorAccess } from "../../src/fabric/keys.ts";
import { clusterLayer } from "../../src/fabric/layer.ts";
import { buildSeed } from "../../src/fabric/seed.ts";
import { delay } from "../../src/host/clock.ts";
import { run } from "../../src/host/run.ts";
import { substrateNames, type SubstrateName } from "../../src/spec/types.ts";
import { machineDirectory } from "../../src/substrates/machines.ts";
import { connectOperator } from "../../src/substrates/operator.ts";
import { substrates } from "../../src/substrates/registry.ts";
import { fixedVault } from "../../src/vault/testing.ts";
import { makeLab, removeLab, type TestLab } from "./lab.ts";

const vault = fixedVault();
const labs: TestLab[] = [];

afterEach(async () => {
  for (const lab of labs.splice(0)) {
    await substrates[lab.spec.substrate.name].destroy(lab, lab.context).finally(() => removeLab(lab));
  }
});

async function newLab(name: SubstrateName): Promise<TestLab> {
  const lab = await makeLab(name);
  labs.push(lab);
  lab.spec.trust.operators = [{ name: "admin", slot: 1 }];
  return lab;
}

/** What a cluster may not do to the host, to its secrets, or to the cluster beside it. */
describe.each(substrateNames)("isolation of %s", (name) => {
  const substrate = substrates[name];
  const start = (lab: TestLab) => substrate.start(lab, lab.spec.nodes[0]!, lab.seed, lab.context);
  const hubOf = async (lab: TestLab) => (await substrate.status(lab)).find(({ node }) => node === "hub-1");

  it("two clusters of one name do not disturb each other", async () => {
    const [left, right] = [await newLab(name), await newLab(name)];
    for (const lab of [left, right]) await substrate.prepare(lab, lab.context);
    await Promise.all([start(left), start(right)]);
    const before = await hubOf(right);
    expect(before?.state).toBe("running");
    expect((await hubOf(left))?.pid).not.toBe(before?.pid);
    await substrate.destroy(left, left.context);
    expect(await hubOf(right)).toEqual(before);
    expect((await hubOf(left))?.state).toBe("absent");
  });

  it("destroy during a start leaves nothing", async () => {
    const lab = await newLab(name);
    await substrate.prepare(lab, lab.context);
    const started = start(lab).catch(() => undefined);
    await until(async () => existsSync(machineDirectory(lab.paths, "hub-1")));
    await Promise.all([started, substrate.destroy(lab, lab.context)]);
    await substrate.destroy(lab, lab.context);
    expect(existsSync(machineDirectory(lab.paths, "hub-1"))).toBe(false);
    expect(await processesOf(lab)).toEqual([]);
  });

  it("a runtime directory with too long a path, or that is no directory, is a clear error", async () => {
    const lab = await newLab(name);
    const good = lab.paths.runtime;
    lab.paths.runtime = join(lab.root, "r".repeat(120));
    await expect(
      (async () => {
        await substrate.prepare(lab, lab.context);
        await start(lab);
        await connect(lab);
      })(),
    ).rejects.toMatchObject({ code: "failed", hint: expect.stringContaining("KUBEDOS_RUNTIME") });
    await substrate.destroy(lab, lab.context).catch(() => undefined);
    lab.paths.runtime = good;
    await writeFile(good, "in use");
    await expect(substrate.prepare(lab, lab.context)).rejects.toThrow("is not a directory of this user alone");
    expect(await readFile(good, "utf8")).toBe("in use");
    await rm(good);
  });

  it("no private key is in any command line, environment or file that others can read", async () => {
    const lab = await newLab(name);
    const { credentials, disk } = buildSeed(lab.spec, vault, "hub-1");
    lab.seed = { credentials, disk };
    const access = operatorAccess(lab.spec, vault, "admin");
    const secrets = [
      access.wireguard.privateKey,
      ...access.sshPrivateKey.split("\n").filter((line) => line.length > 40 && !line.startsWith("-")),
      ...Object.entries(credentials)
        .filter(([key]) => key.includes("private"))
        .map(([, value]) => text(value).trim()),
    ];
    expect(secrets.length).toBeGreaterThan(4);
    await substrate.prepare(lab, lab.context);
    const seen = new Set<string>();
    const watching = new AbortController();
    const watch = watchCommandLines(seen, watching.signal);
    await start(lab);
    await connect(lab);
    watching.abort();
    await watch;
    expect(
      [...seen].some((line) => line.includes(lab.root)),
      "the watch saw this lab",
    ).toBe(true);
    for (const secret of secrets) expect([...seen].filter((line) => line.includes(secret))).toEqual([]);
    const open: string[] = [];
    for (const file of await reachableByOthers([lab.paths.state, lab.paths.runtime])) {
      const content = await readFile(file, "latin1");
      if (secrets.some((secret) => content.includes(secret))) open.push(file);
    }
    expect(open).toEqual([]);
  });

  it("a way in that fails half-way leaves no process; one that worked goes on working", async () => {
    const lab = await newLab(name);
    await substrate.prepare(lab, lab.context);
    const broken = { ...operatorAccess(lab.spec, vault, "admin"), sshPrivateKey: "no key\n" };
    await expect(connect(lab, broken)).rejects.toThrow("ssh-add");
    expect(await markedAs(lab, "operator.json")).toEqual([]);
    await connect(lab);
    const working = await markedAs(lab, "operator.json");
    expect(working.length).toBeGreaterThan(0);
    await expect(connect(lab, broken)).rejects.toThrow("ssh-add");
    expect(await markedAs(lab, "operator.json")).toEqual(working);
  });
});

describe("nspawn and the host's kernel", () => {
  it("a container changes no kernel setting of the host, and sees no control group but its own", async () => {
    const lab = await newLab("nspawn");
    const { nspawn } = substrates;
    await nspawn.prepare(lab, lab.context);
    await nspawn.start(lab, lab.spec.nodes[0]!, lab.seed, lab.context);
    await until(async () => (await readFile(nspawn.consoleLog(lab.paths, "hub-1"), "utf8")).includes("up\n"));
    const attachment = await nspawn.consoleAttachment(lab.paths, "hub-1");
    if (!("command" in attachment)) throw new Error("a command was expected");
    const target = attachment.args.find((arg) => arg.startsWith("--target="))!;
    const inside = (script: string) =>
      run("nsenter", [target, "--all", "--", "/bin/sh", "-c", script], { okStatuses: [0, 1, 2] });
    const sysctls = ["kernel/printk", "kernel/panic", "vm/swappiness", "fs/file-max"];
    const values = () => Promise.all(sysctls.map((path) => readFile(`/proc/sys/${path}`, "utf8")));
    const before = await values();
    for (const [index, path] of sysctls.entries()) {
      // The value that is there already: were it let through, nothing would change.
      const write = `echo '${before[index]!.trim()}' > /proc/sys/${path} && echo WRITTEN`;
      const { stdout, stderr } = await inside(write);
      expect(`${stdout}${stderr}`, path).not.toContain("WRITTEN");
    }
    expect(await values()).toEqual(before);
    // The same shell can write where it may: the refusals above are not its own failure.
    expect((await inside("echo 1 > /dev/null && echo WRITTEN")).stdout).toContain("WRITTEN");
    const { stdout: groups } = await inside("cat /proc/1/cgroup");
    expect(groups).not.toContain("kd-hub-1");
    const { stdout: links } = await run("ip", ["-j", "link", "show"]);
    expect(links).not.toMatch(/"(vb-|ve-|host0)/);
  });
});

function connect(lab: TestLab, access = operatorAccess(lab.spec, vault, "admin")): Promise<void> {
  return connectOperator(lab.paths, clusterLayer(lab.spec, vault, { openings: [] }), access, lab.context);
}

const text = (value: Uint8Array) => Buffer.from(value).toString("latin1");

/** Collects the command line and environment of every process that can be seen, again and again until told to end. */
async function watchCommandLines(seen: Set<string>, signal: AbortSignal): Promise<void> {
  do {
    for (const { words } of await processes()) seen.add(words.join("\0"));
    await delay(2);
  } while (!signal.aborted);
}

async function processesOf(lab: TestLab): Promise<number[]> {
  return (await processes()).filter(({ words }) => words.some((word) => word.includes(lab.root))).map(({ pid }) => pid);
}

async function markedAs(lab: TestLab, file: string): Promise<number[]> {
  const mark = `KUBEDOS_MARK=${join(lab.paths.state, file)}`;
  return (await processes()).filter(({ words }) => words.includes(mark)).map(({ pid }) => pid);
}

/** Processes but this one, with their arguments and environment. */
async function processes(): Promise<{ pid: number; words: string[] }[]> {
  const pids = (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid);
  return Promise.all(
    pids.map(async (pid) => {
      const parts = ["cmdline", "environ"].map((file) => readFile(`/proc/${pid}/${file}`, "utf8").catch(() => ""));
      return { pid: Number(pid), words: (await Promise.all(parts)).join("\0").split("\0") };
    }),
  );
}

/** Files that another user could open: by their own mode and those of the directories on the way to them. */
async function reachableByOthers(roots: string[]): Promise<string[]> {
  const found: string[] = [];
  for (const directory of roots) {
    if (((await stat(directory)).mode & 0o001) === 0) continue;
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) found.push(...(await reachableByOthers([path])));
      else if (entry.isFile() && ((await stat(path)).mode & 0o004) !== 0) found.push(path);
    }
  }
  return found;
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (await condition()) return;
    await delay(25);
  }
  throw new Error("it did not come to be");
}

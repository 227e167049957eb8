import { appendFile, readdir, readFile, readlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isRunning } from "../../src/host/daemon.ts";
import { specPaths, type SpecPaths } from "../../src/host/paths.ts";
import type { Report } from "../../src/converge/report.ts";
import type { ClusterStatus } from "../../src/lifecycle/status.ts";
import { loadSpec } from "../../src/spec/load.ts";
import { substrates } from "../../src/substrates/registry.ts";
import { jsonLines, kubedos, projectRoot, start, type Outcome } from "../cli/kubedos.ts";
import { findProcesses, labSpec, makeScratch, processesOf, until, type Scratch } from "./support.ts";
import { publishedFiles } from "../fakes/published.ts";

// One sealed lab of two machines with the security baseline and the eBPF recorder, which containers cannot prove, from
// its first `up` to `down`, by the command line only. The tests build on each other.
let scratch: Scratch;
let specFile: string;
let paths: SpecPaths;
beforeAll(async () => {
  scratch = await makeScratch();
  specFile = join(scratch.directory, "lab.yaml");
  const features = "[agent, base, ebpf, firewall, kernel, node-metrics, planes, security, ssh, time]";
  const spec = labSpec("lab").replaceAll("] }", "], memoryMiB: 768 }");
  await writeFile(specFile, `${spec}platform: { features: ${features} }\n`);
  paths = specPaths(specFile);
});
afterAll(async () => {
  if (scratch === undefined) return;
  await cli("down", specFile);
  await scratch.remove();
});

const nodes = ["hub", "worker-1"];

function cli(...args: string[]): Promise<Outcome> {
  return kubedos(args, { env: scratch.env });
}

/** The process of each machine that runs. */
async function pids(): Promise<Record<string, number | undefined>> {
  const machines = await substrates.qemu.status({ paths, spec: await loadSpec(specFile) });
  return Object.fromEntries(machines.map(({ node, pid }) => [node, pid]));
}

async function status(): Promise<ClusterStatus> {
  const outcome = await cli("status", "--json", "--spec", specFile);
  expect(outcome.status, outcome.stderr).toBe(0);
  return jsonLines(outcome.stdout).at(-1) as unknown as ClusterStatus;
}

/** Starts `up` and sends it a signal as soon as it says that the machine is started: before, it would end the machine. */
async function upUntil(
  node: string,
  signal: NodeJS.Signals,
  meanwhile?: (pid: number) => Promise<void>,
): Promise<Outcome> {
  const run = start(join(projectRoot, "kubedos"), ["up", specFile], { env: scratch.env });
  const started = new RegExp(`^node +${node} +started`, "m");
  await until(
    node,
    300,
    async () => {
      if (started.test(run.stderr())) return true;
      if ((await Promise.race([run.ended, Promise.resolve()])) === undefined) return undefined;
      throw new Error(`up ended before ${node} ran\n${run.stderr()}`);
    },
    async () => run.stderr(),
  );
  await meanwhile?.(run.pid);
  run.kill(signal);
  return run.ended;
}

test("up that is interrupted, refuses others and is killed while machines boot, and up again: it goes on with what runs", async () => {
  const interrupted = await upUntil("hub", "SIGINT");
  expect(interrupted.status).toBe(130);
  expect(interrupted.stderr).toMatch(/interrupted; hub.* still running\n.*kubedos up. goes on/s);
  const before = await pids();
  const killed = await upUntil("worker-1", "SIGKILL", async (pid) => {
    for (const verb of ["up", "down"]) {
      const { status, stderr } = await cli(verb, specFile);
      expect(status, verb).toBe(1);
      expect(stderr).toMatch(new RegExp(`lab is being changed by .kubedos up., pid ${pid}, .*kill -INT ${pid}`, "s"));
    }
    expect((await cli("console", "hub", "--log", "--spec", specFile)).status).toBe(0);
  });
  expect(killed.status).toBeNull();

  const last = await cli("up", specFile);
  expect(last.status, last.stderr).toBe(0);
  expect(last.stdout).toMatch(/2 nodes ready: build .* power-on to planes .* gates .* total/);
  expect(last.stdout).toMatch(/[0-9a-f]{64} {2}.*lab\.raw {2}\(.* MB\)/);
  for (const verb of ["status", "ssh", "console", "down"]) {
    expect(last.stdout).toContain(`kubedos ${verb} --spec ${specFile}`);
  }
  const after = await pids();
  expect(after["hub"]).toBe(before["hub"]);
  for (const node of nodes) expect(await machinesCalled(node), node).toEqual([after[node]]);
});

/** Processes of QEMU for a node of this lab: never more than one. */
async function machinesCalled(node: string): Promise<number[]> {
  const disk = join(paths.state, "nodes", node, "disk.qcow2");
  const found = await findProcesses(async (pid) => {
    const words = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
    return words[0]!.endsWith("qemu-system-x86_64") && words.some((word) => word.includes(disk));
  });
  return found.map(({ pid }) => pid);
}

test("the report proves it: every gate passed, with evidence for every node", async () => {
  const report = JSON.parse(await readFile(join(paths.state, "report.json"), "utf8")) as Report;
  expect(report).toMatchObject({ cluster: "lab", substrate: "qemu", sealed: true, passed: true });
  expect(report.nodes.map(({ node, phase }) => [node, phase])).toEqual(nodes.map((node) => [node, "fabric"]));
  expect(report.gates.map(({ gate, passed }) => [gate, passed])).toEqual([
    ["fabric", true],
    ["sealed", true],
    ["certificates", true],
    ["firewall", true],
    ["isolation", true],
    ["security", true],
    ["ebpf", true],
  ]);
  for (const { gate, checks } of report.gates) {
    for (const node of nodes) {
      expect(
        checks.some((check) => check.what.includes(node)),
        `${gate} says something of ${node}`,
      ).toBe(true);
    }
  }
  const text = await readFile(join(paths.state, "report.md"), "utf8");
  expect(text).toContain("# Acceptance of lab: passed");
  expect(text).toContain(report.rootHash);
});

test("AppArmor confines the platform's services, the audit rules are locked, and flows have names", async () => {
  const report = JSON.parse(await readFile(join(paths.state, "report.json"), "utf8")) as Report;
  const checks = report.gates.flatMap((gate) => gate.checks);
  const evidence = (what: string) => checks.find((check) => check.what === what)?.evidence;
  expect(evidence("hub: AppArmor profiles")).toMatch(/chrony.*kubedos-agent.*prometheus-node-exporter/);
  expect(evidence("worker-1: audit rules")).toMatch(/^(\d+) of \1 loaded, enabled 2/);
  expect(evidence("worker-1: what people do as root is in the audit trail")).toContain("by login 900");
  expect(evidence("hub: a connection")).toMatch(/^out on wg1, worker-1 by bash, /);
  expect(evidence("worker-1: a connection")).toMatch(/^in on wg1, hub, /);
  expect(evidence("worker-1: a segment sent again")).toBe("SYN_SENT to hub port 9 on underlay");
});

test("status --json: both nodes sealed, with planes that have shaken hands", async () => {
  const report = JSON.parse(await readFile(join(paths.state, "report.json"), "utf8")) as Report;
  const cluster = await status();
  expect(cluster).toMatchObject({ cluster: "lab", substrate: "qemu", sealed: true });
  expect(cluster.nodes.map(({ node }) => node)).toEqual(nodes);
  for (const node of cluster.nodes) {
    expect(node).toMatchObject({ state: "running", phase: "fabric", artifact: report.artifacts[0]!.sha256 });
    expect(node.facts).toMatchObject({
      secureBoot: true,
      setupMode: false,
      lockdown: "integrity",
      tpm: true,
      state: "encrypted",
      sealed: true,
      rootHash: report.rootHash,
    });
    expect(node.facts?.planes.map(({ name }) => name)).toEqual(["wg1", "wg2", "wg3"]);
    for (const plane of node.facts?.planes ?? []) expect(plane.oldestHandshakeSeconds).toBeTypeOf("number");
  }
});

test("status as text: a line for each node, with its role, phase and planes", async () => {
  const { stdout } = await cli("status", "--spec", specFile);
  const rows = stdout.split("\n");
  for (const [node, role] of [
    ["hub", "hub"],
    ["worker-1", "worker"],
  ] as const) {
    expect(
      rows.find((row) => row.startsWith(`${node} `)),
      stdout,
    ).toMatch(new RegExp(`${role} .*fabric .*wg1 .*wg2 .*wg3`));
  }
});

test("ssh: the right node, and the exit status of its command", async () => {
  const hostname = await cli("ssh", "--spec", specFile, "worker-1", "--", "hostname");
  expect(hostname.stdout, hostname.stderr).toBe("worker-1\n");
  expect(hostname.status).toBe(0);
  expect((await cli("ssh", "--spec", specFile, "hub", "--", "exit", "7")).status).toBe(7);
  const unknown = await cli("ssh", "--spec", specFile, "worker-2", "--", "true");
  expect(unknown.status).toBe(2);
  expect(unknown.stderr).toContain("did you mean worker-1?");
});

test("ssh refuses a node with another host key than the vault's, and says so", async () => {
  const file = join(paths.state, "known_hosts");
  const known = await readFile(file, "utf8");
  const [hub, worker] = nodes.map((node) => known.split("\n").find((line) => line.startsWith(`${node}.`))!);
  const keyOf = (line: string | undefined) => line!.split(" ").slice(1).join(" ");
  await writeFile(file, known.replace(keyOf(worker), keyOf(hub)));
  try {
    const refused = await cli("ssh", "--spec", specFile, "worker-1", "--", "hostname");
    expect(refused.status).toBe(255);
    expect(refused.stderr).toContain("Host key verification failed");
    expect(refused.stdout).toBe("");
  } finally {
    await writeFile(file, known);
  }
  expect((await cli("ssh", "--spec", specFile, "worker-1", "--", "hostname")).stdout).toBe("worker-1\n");
});

test("console --log shows what the console has shown", async () => {
  const outcome = await cli("console", "hub", "--log", "--spec", specFile);
  expect(outcome.status).toBe(0);
  expect(outcome.stdout).toContain("BdsDxe: starting Boot");
  expect(outcome.stdout).not.toContain("boot stopped");
});

test("up of a lab that is up changes nothing and passes", async () => {
  const before = await pids();
  const again = await cli("up", specFile, "--json");
  expect(again.status, again.stderr).toBe(0);
  const events = jsonLines(again.stdout);
  expect(events.filter(({ type }) => type === "stage.started" || type === "stage.done")).toEqual([]);
  expect(events.filter(({ type, phase }) => type === "node.phase" && phase === "started")).toEqual([]);
  expect(events.filter(({ type }) => type === "gate.passed")).toHaveLength(7);
  expect(await pids()).toEqual(before);
});

/** `up` with a machine whose hardware clock is two hours behind. */
async function upWithClockBehind(node: string): Promise<Outcome> {
  const wrapper = join(scratch.directory, "qemu-behind");
  // QEMU finds its modules by the directory that it is in, so it takes the place of another tool there.
  const [tool, real] = ["/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-io"];
  const time = new Date(Date.now() - 2 * 3600 * 1000).toISOString().slice(0, 19);
  const clock = `case "$*" in *kubedos-lab-${node}*) set -- "$@" -rtc base=${time} ;; esac`;
  await writeFile(wrapper, `#!/bin/sh\n${clock}\nexec ${real} "$@"\n`, { mode: 0o755 });
  // Only this `up`, and what it starts, see the other QEMU.
  const script = 'mount --bind "$1" "$2"; mount --bind "$3" "$1"; shift 3; exec "$@"';
  const command = [join(projectRoot, "kubedos"), "up", specFile];
  const args = ["--mount", "--", "sh", "-euc", script, "sh", tool, real, wrapper, ...command];
  return start("unshare", args, { env: scratch.env }).ended;
}

test("a machine that dies is seen by status, and up starts it again as the same node with its state, its clock two hours behind", async () => {
  const before = await pids();
  const keep = ["sudo", "sh", "-c", "mkdir -p /var/lib/kubedos && echo kept > /var/lib/kubedos/kept && sync"];
  const kept = await cli("ssh", "--spec", specFile, "worker-1", "--", ...keep);
  expect(kept.status, kept.stderr).toBe(0);
  process.kill(before["worker-1"]!, "SIGKILL");
  await until("the end of worker-1", 20, async () => ((await pids())["worker-1"] === undefined ? true : undefined));
  const cluster = await status();
  expect(cluster.nodes.map(({ node, state, phase }) => [node, state, phase])).toEqual([
    ["hub", "running", "fabric"],
    ["worker-1", "stopped", "stopped"],
  ]);

  // The other gates have passed twice.
  await appendFile(specFile, "acceptance: { gates: [fabric, sealed] }\n");
  const again = await upWithClockBehind("worker-1");
  expect(again.status, again.stderr).toBe(0);
  const after = await pids();
  expect(after["hub"]).toBe(before["hub"]);
  expect(after["worker-1"]).not.toBe(before["worker-1"]);
  // The same host key and the same keys on every plane: the hub has accepted it, and so does ssh.
  expect((await cli("ssh", "--spec", specFile, "worker-1", "--", "hostname")).stdout).toBe("worker-1\n");
  expect((await cli("ssh", "--spec", specFile, "worker-1", "--", "cat", "/var/lib/kubedos/kept")).stdout).toBe(
    "kept\n",
  );
  const packages = await cli("ssh", "--spec", specFile, "worker-1", "--", "dpkg-query", "-W", "base-files");
  expect(packages.stdout).toContain("base-files");
  expect((await status()).nodes.map(({ phase }) => phase)).toEqual(["fabric", "fabric"]);
  const journal = ["sudo", "journalctl", "--boot", "--unit=chrony", "--output=cat"];
  await until("the clock of worker-1 to be set", 60, async () => {
    const { stdout } = await cli("ssh", "--spec", specFile, "worker-1", "--", ...journal);
    return /System clock was stepped by 7[12]\d\d\.\d+ seconds/.test(stdout) ? true : undefined;
  });
  const { stdout: now } = await cli("ssh", "--spec", specFile, "worker-1", "--", "date", "+%s");
  expect(Math.abs(Number(now) - Date.now() / 1000)).toBeLessThan(30);
});

test("down leaves reports and artifacts, and nothing else", async () => {
  const running = await processesOf(scratch.directory);
  const holder = await readlink(
    `/proc/${(JSON.parse(await readFile(join(paths.state, "network.json"), "utf8")) as { pid: number }).pid}/ns/net`,
  );
  const inNetwork = (pid: number) =>
    readlink(`/proc/${pid}/ns/net`).then(
      (name) => name === holder,
      () => false,
    );
  const network = await findProcesses(inNetwork);
  // Two machines, two TPMs, the network's holder, the operator's peer and agent: the search finds them.
  expect(running.length).toBeGreaterThanOrEqual(5);
  expect(network.length).toBeGreaterThanOrEqual(4);

  const down = await cli("down", specFile);
  expect(down.status, down.stderr).toBe(0);
  for (const daemon of [...running, ...network]) expect(await isRunning(daemon), String(daemon.pid)).toBe(false);
  expect(await processesOf(scratch.directory)).toEqual([]);
  expect(await findProcesses(inNetwork)).toEqual([]);
  expect((await readdir(paths.state)).toSorted()).toEqual(["report.json", "report.md"]);
  expect(await readdir(paths.runtime).catch(() => [])).toEqual([]);
  expect((await readdir(paths.out)).toSorted()).toEqual(publishedFiles(["lab.raw"]));
  expect((await cli("down", specFile)).stdout).toContain("nothing was up");
  expect((await cli("status", "--spec", specFile)).status).toBe(1);
});

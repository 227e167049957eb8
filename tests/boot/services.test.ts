import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Report } from "../../src/converge/report.ts";
import { specPaths, type SpecPaths } from "../../src/host/paths.ts";
import { loadSpec } from "../../src/spec/load.ts";
import { substrates } from "../../src/substrates/registry.ts";
import type { Lab } from "../../src/substrates/types.ts";
import { kubedos, projectRoot, type Outcome } from "../cli/kubedos.ts";
import { insideContainer, makeScratch, until, type Scratch } from "./support.ts";

// examples/services.yaml in containers, from `up` to `down`. The tests build on each other.
let scratch: Scratch;
let specFile: string;
let paths: SpecPaths;
let report: Report;

const vip = "10.103.0.200";

beforeAll(async () => {
  scratch = await makeScratch();
  specFile = join(scratch.directory, "services.yaml");
  paths = specPaths(specFile);
  const example = await readFile(join(projectRoot, "examples/services.yaml"), "utf8");
  // Containers need no second image.
  await writeFile(specFile, example.replace(/^targets: .*$/m, "targets: [raw]"));
});
afterAll(async () => {
  if (scratch === undefined) return;
  await cli("down", specFile);
  await scratch.remove();
});

function cli(...args: string[]): Promise<Outcome> {
  return kubedos(args, { env: scratch.env });
}

/** Runs a command as root on a node, without its network. */
function inside(node: string, command: readonly string[], okStatuses?: readonly number[]) {
  return insideContainer(paths, node, command, okStatuses);
}

const anyStatus = Array.from({ length: 256 }, (_, status) => status);

function etcdctl(node: string, args: readonly string[], purpose = "etcd", members = [2, 3, 4]) {
  const pki = "/run/kubedos/pki";
  const endpoints = members.map((index) => `https://10.103.0.${index}:2379`).join(",");
  const trust = [
    `--endpoints=${endpoints}`,
    `--cacert=${pki}/etcd.ca.crt`,
    "--dial-timeout=2s",
    "--command-timeout=4s",
  ];
  const identity = purpose === "" ? [] : [`--cert=${pki}/${purpose}.crt`, `--key=${pki}/${purpose}.key`];
  return inside(node, ["/usr/bin/etcdctl", ...trust, ...identity, ...args], anyStatus);
}

/** Whether a TCP connection to the virtual address works. */
async function vipAnswers(node: string): Promise<true | undefined> {
  const connect = ["/usr/bin/timeout", "1", "/bin/bash", "-c", `exec 3<>/dev/tcp/${vip}/2379`];
  return (await inside(node, connect, anyStatus)).status === 0 ? true : undefined;
}

async function property(node: string, unit: string, name: string): Promise<string> {
  return (await inside(node, ["/bin/systemctl", "show", "--value", `--property=${name}`, unit])).stdout.trim();
}

function gate(name: string) {
  const found = report.gates.find((one) => one.gate === name);
  if (found === undefined) throw new Error(`no gate ${name} in the report`);
  return found;
}

test("up: six nodes, all gates green, with evidence", async () => {
  const up = await cli("up", specFile);
  expect(up.status, up.stderr).toBe(0);
  report = JSON.parse(await readFile(join(paths.state, "report.json"), "utf8")) as Report;
  expect(report.gates.map(({ gate: name, passed }) => `${name} ${passed}`)).toEqual([
    "fabric true",
    "certificates true",
    "enrollment true",
    "firewall true",
    "convergence true",
    "isolation true",
    "security true",
    "etcd true",
    "containerd true",
    "vip true",
    "targets true",
    "logs true",
  ]);
});

test("the isolation matrix: every node from every other on every interface, reachable and refused both shown", () => {
  const { checks } = gate("isolation");
  expect(checks).toHaveLength(6 * 5 * 4);
  const of = (what: string) => checks.find((check) => check.what === what)?.evidence;
  expect(of("core-1 on wg3, from edge-1")).toMatch(/open tcp\/2379, tcp\/2380/);
  expect(of("core-1 on wg2, from hub")).toMatch(/tcp\/9100/);
  expect(of("core-1 on wg2, from edge-1")).toContain("open none");
  expect(of("hub on underlay, from core-1")).toMatch(/open none; \d\d+ silent/);
});

test("the health of every plane is in Prometheus, from every node to every peer, and every rule is understood", async () => {
  const rules = "/usr/share/kubedos/observability/rules.yml";
  expect((await inside("hub", ["/usr/bin/promtool", "check", "rules", rules])).stdout).toMatch(
    /SUCCESS: \d+ rules found/,
  );
  const metrics = [
    "handshake_age_seconds",
    "received_bytes_total",
    "sent_bytes_total",
    "loss_ratio",
    "round_trip_seconds",
  ];
  const query = 'count by (__name__) ({__name__=~"kubedos_plane_peer_.*"})';
  const ask = ["/usr/bin/promtool", "query", "instant", "--format=json", "http://10.102.0.1:9090", query];
  // Six nodes, five peers each, on three planes.
  const wanted = metrics.map((name) => `kubedos_plane_peer_${name} 90`).toSorted();
  await until("every node's view of every peer", 60, async () => {
    const { stdout } = await inside("hub", ask);
    const rows = JSON.parse(stdout) as { metric: Record<string, string>; value: [number, string] }[];
    const seen = rows.map(({ metric, value }) => `${metric["__name__"]} ${value[1]}`).toSorted();
    return JSON.stringify(seen) === JSON.stringify(wanted) ? true : undefined;
  });
});

test("etcd takes its own authority's certificates only", async () => {
  expect((await etcdctl("core-1", ["put", "test/key", "one"])).stdout).toContain("OK");
  expect((await etcdctl("core-1", ["get", "test/key"], "")).status).not.toBe(0);
  expect((await etcdctl("core-1", ["get", "test/key"], "telemetry")).status).not.toBe(0);
});

test("a member of etcd that is killed is back by itself, with its data", async () => {
  const restarts = async () => Number(await property("core-2", "etcd.service", "NRestarts"));
  const before = await restarts();
  await inside("core-2", ["/bin/systemctl", "kill", "--signal=SIGKILL", "etcd.service"]);
  // Where it was the leader, the others elect another first.
  await until("a write without core-2", 30, async () => {
    const { stdout } = await etcdctl("core-1", ["put", "test/key", "two"], "etcd", [2, 4]);
    return stdout.includes("OK") ? true : undefined;
  });
  const local = ["get", "--consistency=s", "--print-value-only", "test/key"];
  await until("core-2 with the new value", 60, async () => {
    const { stdout } = await etcdctl("core-2", local, "etcd", [3]);
    return stdout.trim() === "two" ? true : undefined;
  });
  expect(await restarts()).toBe(before + 1);
});

test("a plane that was cut comes back, and nothing was restarted", async () => {
  const units = ["etcd.service", "kubedos-agent.service", "systemd-journal-upload.service"];
  const before = await Promise.all(units.map((unit) => property("core-3", unit, "ExecMainPID")));
  const reach = ["/usr/bin/ping", "-c1", "-W1", "10.102.0.4"];
  const lab = { spec: await loadSpec(specFile), paths } as Lab;
  await substrates.nspawn.request(lab, "core-3", { id: "cut", command: "isolate", plane: "wg2", seconds: 8 });
  await until("the cut", 5, async () => ((await inside("hub", reach, anyStatus)).status === 0 ? undefined : true));
  await until("the plane", 60, async () => ((await inside("hub", reach, anyStatus)).status === 0 ? true : undefined));
  expect(await Promise.all(units.map((unit) => property("core-3", unit, "ExecMainPID")))).toEqual(before);
});

test("the holder of the virtual address dies: another serves it", async () => {
  expect(await vipAnswers("hub")).toBe(true);
  const holders = await Promise.all(
    ["edge-1", "edge-2"].map(async (node) => {
      const { stdout } = await inside(node, ["/usr/sbin/ip", "-4", "-o", "address", "show", "dev", "wg3"]);
      return stdout.includes(`${vip}/`) ? [node] : [];
    }),
  );
  const [holder = "", ...more] = holders.flat();
  expect(more).toEqual([]);
  // As if the power went: no unit is stopped, nobody says goodbye.
  await inside(holder, ["/bin/systemctl", "kill", "--signal=SIGSTOP", "keepalived.service"], anyStatus);
  await inside(holder, ["/bin/systemctl", "poweroff", "--force", "--force"], anyStatus).catch(() => undefined);
  const lab = { spec: await loadSpec(specFile), paths } as Lab;
  await until(`${holder} to be gone`, 30, async () => {
    const machines = await substrates.nspawn.status(lab);
    return machines.find(({ node }) => node === holder)?.state === "stopped" ? true : undefined;
  });
  await until("the address on the other node", 20, () => vipAnswers("hub"));
  await until("the address from a core node", 20, () => vipAnswers("core-1"));
  const status = await cli("status", "--spec", specFile);
  expect(status.stdout).toMatch(new RegExp(`${holder}\\s+edge\\s+stopped`));
});

import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Report } from "../../src/converge/report.ts";
import { specPaths, type SpecPaths } from "../../src/host/paths.ts";
import { run } from "../../src/host/run.ts";
import type { ClusterStatus } from "../../src/lifecycle/status.ts";
import { inNetwork } from "../../src/substrates/network.ts";
import { jsonLines, kubedos, type Outcome } from "../cli/kubedos.ts";
import { labSpec, makeScratch, until, type Scratch } from "./support.ts";

// Salt and the PKI on two containers, by the command line only. The tests build on each other.
let scratch: Scratch;
let specFile: string;
let paths: SpecPaths;
beforeAll(async () => {
  scratch = await makeScratch();
  specFile = join(scratch.directory, "lab.yaml");
  const features = "[agent, base, firewall, kernel, planes, salt, ssh, time]";
  const more = `platform: { features: ${features} }\nsubstrate: { name: nspawn }\n`;
  await writeFile(specFile, labSpec("salty") + more);
  await write("salt/states/top.sls", "base:\n  'roles:worker':\n    - match: grain\n    - web\n");
  await write(
    "salt/states/web.sls",
    "/run/web:\n  file.managed:\n    - contents: '{{ pillar.colour }} {{ grains.node_index }}'\n",
  );
  await write("salt/pillar/top.sls", "base:\n  'worker-1':\n    - colours\n");
  await write("salt/pillar/colours.sls", "colour: green\n");
  paths = specPaths(specFile);
});
afterAll(async () => {
  if (scratch === undefined) return;
  await cli("down", specFile);
  await scratch.remove();
});

async function write(path: string, text: string): Promise<void> {
  await mkdir(join(scratch.directory, path, ".."), { recursive: true });
  await writeFile(join(scratch.directory, path), text);
}

function cli(...args: string[]): Promise<Outcome> {
  return kubedos(args, { env: scratch.env });
}

async function on(node: string, ...command: string[]): Promise<string> {
  const outcome = await cli("ssh", "--spec", specFile, node, "--", ...command);
  expect(outcome.status, `${command.join(" ")}\n${outcome.stdout}${outcome.stderr}`).toBe(0);
  return outcome.stdout;
}

async function nodeStatus(node: string): Promise<ClusterStatus["nodes"][number]> {
  const outcome = await cli("status", "--json", "--spec", specFile);
  const status = jsonLines(outcome.stdout).at(-1) as unknown as ClusterStatus;
  return status.nodes.find((one) => one.node === node)!;
}

test("up enrolls every node with keys known beforehand, and proves it", async () => {
  const outcome = await cli("up", specFile, "--json");
  expect(outcome.status, outcome.stderr + outcome.stdout.slice(-2000)).toBe(0);
  const report = jsonLines(outcome.stdout).at(-1) as unknown as Report;
  expect(report.gates.map(({ gate, passed }) => [gate, passed])).toEqual([
    ["fabric", true],
    ["certificates", true],
    ["enrollment", true],
    ["firewall", true],
  ]);
  expect((await stat(paths.keyring)).mode & 0o777).toBe(0o600);
});

test("Salt works by hand on the hub, as its own documentation says", async () => {
  expect(JSON.parse(await on("hub", "salt", "--static", "--out=json", "*", "test.ping"))).toEqual({
    hub: true,
    "worker-1": true,
  });
  const keys = JSON.parse(await on("hub", "salt-key", "-L", "--out=json")) as Record<string, string[]>;
  expect(keys).toMatchObject({
    minions: ["hub", "worker-1"],
    minions_denied: [],
    minions_pre: [],
    minions_rejected: [],
  });
  expect(
    JSON.parse(await on("hub", "salt", "-G", "roles:worker", "--static", "--out=json", "grains.get", "planes:wg3")),
  ).toEqual({ "worker-1": { address: "10.103.0.2", purpose: "backend" } });
  expect(await on("hub", "sudo", "ss", "-Hltn")).not.toMatch(/0\.0\.0\.0:450[56]/);
});

test("the user's states and pillar and the platform's are applied together, and change nothing the second time", async () => {
  await on("hub", "salt", "*", "state.apply");
  expect((await on("worker-1", "cat", "/run/web")).trim()).toBe("green 2");
  expect(JSON.parse(await on("worker-1", "cat", "/etc/kubedos/node.json"))).toMatchObject({
    name: "worker-1",
    index: 2,
  });
  expect(await on("hub", "salt", "*", "state.apply")).not.toMatch(/changed=/);
});

/** A second minion on worker-1, with fresh keys and any name. */
function foreignMinion(name: string): Promise<string> {
  const script = [
    'd=/run/foreign-"$1"; mkdir -p "$d/pki" "$d/d"',
    "cp /run/kubedos/salt/keys/minion/minion_master.pub $d/pki/",
    'sed -e "s,/run/salt-minion,$d,; s,/run/kubedos/salt/minion.d,$d/d," /etc/salt/minion > "$d/minion"',
    'sed "s/\\"worker-1\\"/\\"$1\\"/" /run/kubedos/salt/minion.d/kubedos.conf > "$d/d/kubedos.conf"',
    'timeout 60 /usr/lib/kubedos/salt/bin/salt-minion -c "$d" > "$d/log" 2>&1 &',
  ].join("\n");
  return on("worker-1", "sudo", "sh", "-c", script, "sh", name);
}

test("a stranger, and a known name with another key, are refused and reported; the real node stays enrolled", async () => {
  await foreignMinion("mallory");
  await foreignMinion("worker-1");
  const refused = await until("the refusals", 60, async () => {
    const { refused: list = [] } = await nodeStatus("hub");
    return list.length >= 2 ? list : undefined;
  });
  expect(refused.map(({ name, reason }) => `${name}: ${reason}`).toSorted()).toEqual([
    "mallory: unknown",
    "worker-1: another key",
  ]);
  const shown = await on("hub", "salt-key", "-F", "mallory");
  expect(shown).toContain(refused.find(({ name }) => name === "mallory")!.fingerprint);
  expect((await cli("status", "--spec", specFile)).stdout).toMatch(/^hub: refused the Salt key of mallory \(unknown/m);
  const answers = JSON.parse(await on("hub", "salt", "--static", "--out=json", "*", "test.ping")) as unknown;
  expect(answers).toEqual({ hub: true, "worker-1": true });
});

test("the audit log has every key that was known beforehand, and the refusals; nobody can join", async () => {
  const log = await cli("enroll", "log", "--spec", specFile);
  expect(log.status, log.stderr).toBe(0);
  const steps = log.stdout
    .trim()
    .split("\n")
    .map((line) => line.replace(/^ *[\d-]+ [\d:]+ /, "").replace(/ sha256 .*/, ""));
  expect(steps.slice(1, 3)).toEqual(["accepted  hub by layer", "accepted  worker-1 by layer"]);
  expect(steps.slice(3).toSorted()).toEqual([
    "refused   mallory (Salt: unknown) by hub",
    "refused   worker-1 (Salt: another key) by hub",
  ]);
  const open = await cli("enroll", "open", "--spec", specFile);
  expect(open).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/known beforehand[^]*enrollment: join/) as string,
  });
});

test("an operator's own certificate opens an agent's status; without one there is no answer", async () => {
  const out = join(scratch.directory, "tls");
  expect((await cli("pki", "operator", "operator", "--out", out, "--spec", specFile)).status).toBe(0);
  expect((await stat(join(out, "agent.key"))).mode & 0o777).toBe(0o600);
  const ask = async (...own: string[]) => {
    const url = "https://10.101.0.2:7443/status";
    const args = ["-s", "--max-time", "10", "--cacert", join(out, "agent.ca.crt"), ...own, url];
    const curl = await inNetwork(paths, "curl", args);
    return run(curl.command, curl.args, { okStatuses: [0, 35, 52, 56] });
  };
  const answer = await ask("--cert", join(out, "agent.crt"), "--key", join(out, "agent.key"));
  expect(JSON.parse(answer.stdout)).toMatchObject({ node: "worker-1", cluster: "salty" });
  expect((await ask()).status).not.toBe(0);
});

test("renewed certificates reach a node that runs, and no key is on the way", async () => {
  const before = (await nodeStatus("worker-1")).facts!.certificates!;
  const renewed = await cli("pki", "renew", "worker-1", "--spec", specFile);
  expect(renewed, renewed.stderr).toMatchObject({ status: 0, stdout: expect.stringMatching(/1 of them/) as string });
  const after = (await nodeStatus("worker-1")).facts!.certificates!;
  expect(after.map(({ purpose }) => purpose)).toEqual(["agent", "etcd", "telemetry"]);
  for (const [i, certificate] of after.entries()) {
    expect(certificate.valid).toBe(true);
    expect(Date.parse(certificate.notAfter)).toBeGreaterThan(Date.parse(before[i]!.notAfter));
  }
  expect((await cli("pki", "list", specFile)).status).toBe(0);
  expect(await readFile(join(paths.state, "issued.json"), "utf8")).not.toMatch(/PRIVATE/);
});

test("a mistake in a state is found by check, before anything is built", async () => {
  await write("salt/states/web.sls", "{% if x %}\n/run/web:\n  file.managed: []\n");
  const outcome = await cli("check", specFile);
  expect(outcome.status).toBe(2);
  expect(outcome.stderr).toMatch(/salt\/states\/web\.sls:1:? .*`if` without `endif`/);
});

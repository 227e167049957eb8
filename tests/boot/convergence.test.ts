import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Report } from "../../src/converge/report.ts";
import { specPaths, type SpecPaths } from "../../src/host/paths.ts";
import type { ClusterStatus } from "../../src/lifecycle/status.ts";
import { substrates } from "../../src/substrates/registry.ts";
import { jsonLines, kubedos, projectRoot, start, type Outcome } from "../cli/kubedos.ts";
import { insideContainer, killContainer, makeScratch, until, type Scratch } from "./support.ts";

// One lab of containers that converges by itself, from its first `up` to `down`. The tests build on each other.
let scratch: Scratch;
let specFile: string;
let paths: SpecPaths;
const nodes = ["hub", "core-1", "worker-1"];
const engine = "/usr/lib/kubedos/converge.cjs";
const workloadTimeoutSeconds = 35;

beforeAll(async () => {
  scratch = await makeScratch();
  specFile = join(scratch.directory, "lab.yaml");
  paths = specPaths(specFile);
  const features = "[agent, ansible, base, firewall, kernel, node-metrics, planes, ssh, time]";
  await writeFile(
    specFile,
    [
      "apiVersion: kubedos/v1",
      "metadata: { name: lab }",
      `platform: { features: ${features} }`,
      "underlay: { cidr: 10.100.0.0/24 }",
      "substrate: { name: nspawn }",
      "targets: [raw]",
      `convergence: { workloadTimeoutSeconds: ${workloadTimeoutSeconds} }`,
      "nodes:",
      "  - { name: hub, role: hub }",
      "  - { name: core-1, role: core }",
      "  - { name: worker-1, role: worker }",
      "",
    ].join("\n"),
  );
  await writePlaybooks(goodSite);
});
afterAll(async () => {
  if (scratch === undefined) return;
  up?.kill("SIGINT"); // it refuses `down` where a test has failed
  await up?.ended;
  await cli("down", specFile);
  await scratch.remove();
});

const goodSite = `---
- name: Wait
  hosts: role_worker
  tasks:
    - name: Wait for the word
      ansible.builtin.wait_for: { path: /run/go, timeout: 600 }
- name: Page
  hosts: all
  become: true
  roles: [page]
`;

async function writePlaybooks(site: string): Promise<void> {
  const role = join(scratch.directory, "ansible/roles/page");
  await mkdir(join(role, "tasks"), { recursive: true });
  await mkdir(join(role, "templates"), { recursive: true });
  const task = "- name: Write the page\n  ansible.builtin.template: { src: page.j2, dest: /etc/page, mode: '0644' }\n";
  await writeFile(join(role, "tasks/main.yml"), task);
  await writeFile(join(role, "templates/page.j2"), "{{ inventory_hostname }} {{ plane_backend }} {{ cluster_hub }}\n");
  await writeFile(join(scratch.directory, "ansible/site.yml"), site);
}

function cli(...args: string[]): Promise<Outcome> {
  return kubedos(args, { env: scratch.env });
}

/** Runs a command as root on a node, without its network. */
async function inside(node: string, ...command: string[]): Promise<string> {
  return (await insideContainer(paths, node, command)).stdout;
}

/** Puts playbooks into /srv/ansible on the hub. */
async function putOnHub(text: string | undefined): Promise<void> {
  const path = "/srv/ansible/site.yml";
  if (text === undefined) await inside("hub", "/bin/rm", "-f", path);
  else await inside("hub", "/bin/sh", "-c", 'printf %s "$1" > "$2"', "sh", text, path);
}

async function status(): Promise<ClusterStatus> {
  const outcome = await cli("status", "--json", "--spec", specFile);
  expect(outcome.status, outcome.stderr).toBe(0);
  return jsonLines(outcome.stdout).at(-1) as unknown as ClusterStatus;
}

async function stageStatus(stage: string): Promise<string | undefined> {
  return (await status()).convergence?.stages.find((one) => one.stage === stage)?.status;
}

test("a playbook with a syntax error is found by check, one that Ansible cannot read by the build", async () => {
  await writePlaybooks("- hosts: all\n  tasks: [\n");
  const check = await cli("check", specFile);
  expect(check.status, check.stderr).toBe(2);
  expect(check.stderr).toMatch(/ansible\/site\.yml:\d+:\d+/);

  await writePlaybooks("- hosts: all\n  tasks:\n    - name: Typo\n      ansible.builtin.coppy: { src: a, dest: /b }\n");
  expect((await cli("check", specFile)).status).toBe(0);
  const up = await cli("up", specFile);
  await writePlaybooks(goodSite);
  expect(up.status, up.stderr).toBe(2);
  expect(up.stderr).toContain("ansible.builtin.coppy");
  expect(up.stderr).not.toMatch(/^node /m);
});

let up: ReturnType<typeof start>;

/** Starts `up` and waits until the workload waits for the word. */
async function upToWorkload(): Promise<void> {
  up = start(join(projectRoot, "kubedos"), ["up", specFile], { env: scratch.env });
  let ended = false;
  void up.ended.then(() => (ended = true));
  await until("the workload", 300, async () => {
    expect(ended, up.stderr()).toBe(false);
    const isThere = up.stderr().includes("fabric  0 changed") && (await stageStatus("workload")) === "running";
    return isThere ? true : undefined;
  });
}

test("an engine that is killed in the middle of a stage goes on with what is not done", async () => {
  await upToWorkload();
  const before = (await status()).convergence;
  await inside("hub", "/usr/bin/pkill", "-KILL", "-f", `^/usr/bin/node .*${engine} run`);
  await until("the engine again", 60, async () => ((await stageStatus("baseline")) === "kept" ? true : undefined));
  expect((await status()).convergence?.run).toBe(before?.run);
});

test("a hub that dies in the middle of a stage goes on when it is back, and up ends with every gate passed", async () => {
  await killContainer(paths, "hub");
  const first = await up.ended;
  expect(first.status).not.toBe(0);
  expect(first.stderr).toContain("hub");

  await upToWorkload();
  const baseline = (await status()).convergence?.stages.find(({ stage }) => stage === "baseline");
  expect(baseline).toMatchObject({ status: "done" });
  expect(Object.keys(baseline!.nodes), "the others are as they were").toEqual(["hub"]);
  await inside("worker-1", "/bin/touch", "/run/go");
  const outcome = await up.ended;
  expect(outcome.status, outcome.stderr).toBe(0);
  expect(await inside("core-1", "/bin/cat", "/etc/page")).toBe("core-1 10.103.0.2 hub\n");
});

test("the report: changed=0 on every node the second time, and a timeline of stages and nodes", async () => {
  const report = JSON.parse(await readFile(join(paths.state, "report.json"), "utf8")) as Report;
  expect(report.passed).toBe(true);
  expect(report.convergence).toMatchObject({ outcome: "passed", lost: [] });
  const gate = report.gates.find((one) => one.gate === "convergence")!;
  expect(gate.checks.map(({ what, ok }) => [what, ok])).toEqual(nodes.map((node) => [`${node} again`, true]));
  for (const { evidence } of gate.checks) expect(evidence).toMatch(/^[1-9]\d* tasks in 3 stages, changed=0$/);
  const text = await readFile(join(paths.state, "report.md"), "utf8");
  expect(text).toMatch(/^\| stage \| status \| s \| changed \| hub \| core-1 \| worker-1 \|$/m);
  expect(text).toMatch(/^\| workload \| done \| [\d.]+ \| \d+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \|$/m);
  expect(text).toMatch(/^workload +█+ +[\d.]+ – [\d.]+\n {2}hub +▒+ +[\d.]+ – [\d.]+$/m);
});

test("plain Ansible works by hand on the hub, with strict host keys and the same inventory", async () => {
  const hand = (...args: string[]) => cli("ssh", "--spec", specFile, "hub", "--", "sudo", "-u", "automation", ...args);
  const graph = await hand("ansible-inventory", "--graph");
  for (const group of ["@role_hub:", "@role_core:", "@feature_ansible:"]) expect(graph.stdout).toContain(group);
  const ping = await hand("ansible", "all", "-m", "ansible.builtin.ping", "-o");
  expect(ping.status, ping.stdout).toBe(0);
  expect(ping.stdout.match(/SUCCESS/g)).toHaveLength(nodes.length);
  const play = await hand(
    "ansible-playbook",
    "-i",
    "/run/kubedos/ansible/inventory.yml",
    "/run/kubedos/layer/ansible/site.yml",
  );
  expect(play.stdout, play.stderr).toMatch(/core-1 +: ok=1 +changed=0/);
});

test("only the hub can log in as automation", async () => {
  expect(await inside("core-1", "/bin/ls", "/run/kubedos-automation")).not.toContain("id_ed25519");
  const key = await inside("hub", "/bin/cat", "/run/kubedos-automation/id_ed25519");
  await inside("core-1", "/bin/sh", "-c", 'umask 077; printf %s "$1" > /run/stolen', "sh", key);
  const args = ["-F", "none", "-i", "/run/stolen", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=/run/kh"];
  await inside("core-1", "/bin/sh", "-c", "ssh-keyscan -T 5 10.101.0.3 > /run/kh 2>/dev/null || true");
  const stolen = await inside(
    "core-1",
    "/bin/sh",
    "-c",
    'ssh "$@" true 2>&1 || echo refused',
    "sh",
    ...args,
    "automation@10.101.0.3",
  );
  expect(stolen).toContain("refused");
});

test("--check says what would change and changes nothing; the run after it changes exactly that", async () => {
  await inside("worker-1", "/bin/rm", "/etc/page");
  const check = await cli("converge", "--check", "--from", "workload", "--spec", specFile);
  expect(check.status, check.stderr).toBe(0);
  expect(check.stdout).toContain("+worker-1 10.103.0.3 hub");
  expect(check.stdout).toMatch(/workload +done +.*worker-1 changed 1$/m);
  await expect(inside("worker-1", "/bin/cat", "/etc/page")).rejects.toThrow("No such file");
  const again = await cli("converge", "--from", "workload", "--limit", "worker-1", "--json", "--spec", specFile);
  expect(jsonLines(again.stdout).at(-1)).toMatchObject({ outcome: "passed", changed: 1 });
  expect((await cli("logs", "worker-1", "--spec", specFile)).stdout).toMatch(/workload {2}changed +.*Write the page/);
  expect((await cli("logs", "workload", "--spec", specFile)).stdout).toContain("PLAY RECAP");
});

test("a playbook that fails is named with its node, task and cause", async () => {
  const fail = "ansible.builtin.fail: { msg: no disk }\n      when: inventory_hostname == 'worker-1'";
  await putOnHub(`- hosts: all\n  tasks:\n    - name: Mount\n      ${fail}\n`);
  const outcome = await cli("converge", "--from", "workload", "--spec", specFile);
  expect(outcome.status).toBe(3);
  expect(outcome.stderr).toContain("workload, worker-1, Mount: no disk");
  expect(outcome.stderr).toContain("acceptance did not run");
  expect((await cli("status", "--spec", specFile)).stdout).toMatch(/workload +failed/);
});

test("a playbook that hangs is ended at its time limit, and named", async () => {
  const wait = "ansible.builtin.wait_for: { path: /never, timeout: 3000 }";
  await putOnHub(`- hosts: role_core\n  tasks:\n    - name: Hang\n      ${wait}\n`);
  const outcome = await cli("converge", "--from", "workload", "--spec", specFile);
  expect(outcome.status).toBe(3);
  expect(outcome.stderr).toContain(`workload, core-1, Hang: did not end within ${workloadTimeoutSeconds} s`);
  await putOnHub(undefined);
});

test("a node that is not there is named, and the others are converged", async () => {
  await substrates.nspawn.stop({ paths, spec: (await loaded()).spec }, "worker-1", scratch.context);
  await inside("core-1", "/bin/rm", "/etc/page");
  const outcome = await cli("converge", "--json", "--spec", specFile);
  expect(outcome.status).toBe(3);
  const events = jsonLines(outcome.stdout);
  expect(events.find(({ type }) => type === "converge.done")).toMatchObject({
    outcome: "failed",
    changed: 1,
    lost: [{ node: "worker-1" }],
  });
  expect(await inside("core-1", "/bin/cat", "/etc/page")).toContain("core-1");
  expect((await cli("status", "--spec", specFile)).stdout).toContain("worker-1 was not converged");
});

async function loaded() {
  const { openRunning } = await import("../../src/lifecycle/running.ts");
  return openRunning(specFile);
}

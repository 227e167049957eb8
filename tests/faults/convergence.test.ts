import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { FabricProbe } from "../../shared/agent-api.ts";
import { observe, type Observer } from "../../src/converge/observe.ts";
import type { ConvergenceProgress } from "../../src/converge/progress.ts";
import type { Report } from "../../src/converge/report.ts";
import { nodeCertificates } from "../../src/fabric/certificates.ts";
import { specPaths, type SpecPaths } from "../../src/host/paths.ts";
import { openProject, type Project } from "../../src/lifecycle/project.ts";
import { openRunning } from "../../src/lifecycle/running.ts";
import { nodeSeed } from "../../src/lifecycle/up-project.ts";
import { substrates } from "../../src/substrates/registry.ts";
import { kubedos, projectRoot, start, type Outcome } from "../cli/kubedos.ts";
import { insideContainer, killContainer, makeScratch, until, type Scratch } from "../boot/support.ts";

// What may go wrong with a cluster that converges: three containers with all platform services, from the first `up` to
// `down`. The tests build on each other.
let scratch: Scratch;
let specFile: string;
let paths: SpecPaths;
let project: Project;
const nodes = ["hub", "core-1", "edge-1"];
const nodeTimeoutSeconds = 20;

beforeAll(async () => {
  scratch = await makeScratch();
  specFile = join(scratch.directory, "services.yaml");
  paths = specPaths(specFile);
  // The platform of the example as it is, so that its image is made once for all test files.
  const example = await readFile(join(projectRoot, "examples/services.yaml"), "utf8");
  const platform = example.slice(0, example.indexOf("\nnodes:"));
  const own = [
    "nodes:",
    "  - { name: hub, roles: [hub, edge], index: 1 }",
    "  - { name: core-1, role: core, index: 2 }",
    "  - { name: edge-1, role: edge, index: 3 }",
    "substrate: { name: nspawn }",
    "targets: [raw]",
    `convergence: { nodeTimeoutSeconds: ${nodeTimeoutSeconds} }`,
    "acceptance: { gates: [fabric, certificates] }",
    "",
  ];
  await writeFile(specFile, `${platform}\n${own.join("\n")}`);
  await kubedos(["--version"]); // bundles what is due
  project = await openProject(specFile, { vault: {}, create: true }, scratch.context);
});
afterAll(async () => {
  if (scratch === undefined) return;
  await cli("down", specFile);
  await scratch.remove();
});

function cli(...args: string[]): Promise<Outcome> {
  return kubedos(args, { env: scratch.env });
}

async function inside(node: string, ...command: string[]): Promise<string> {
  return (await insideContainer(paths, node, command)).stdout;
}

/** Runs a few lines of shell as root on a node. */
function shell(node: string, script: string): Promise<string> {
  return inside(node, "/bin/sh", "-eu", "-c", script);
}

async function report(): Promise<Report> {
  return JSON.parse(await readFile(join(paths.state, "report.json"), "utf8")) as Report;
}

// Not systemd-journal-upload: it ends with its connection, and systemd starts it again where it left off.
const services = [
  "kubedos-",
  "systemd-networkd",
  "systemd-journald",
  "chrony",
  "ssh.",
  "etcd",
  "containerd",
  "haproxy",
];

/** Main processes of a node's services, and how often each was restarted. */
async function processes(node: string): Promise<string> {
  const units = [...services, "keepalived", "prometheus"].map((name) => `${name}*`);
  return inside(node, "/bin/systemctl", "show", "--property=Id,ExecMainPID,NRestarts", ...units);
}

async function watch(): Promise<Observer> {
  const { lab } = await openRunning(specFile);
  return observe(substrates.nspawn, lab, scratch.context);
}

/** Waits until every node answers a node on every plane. Returns the seconds that it took. */
async function allAnswer(node: string, limitSeconds: number): Promise<number> {
  const observer = await watch();
  const begin = Date.now();
  await until(`everybody to answer ${node}`, limitSeconds, async () => {
    const probe = (await observer.ask(node, { command: "fabric", count: 1 }, 20_000)) as FabricProbe;
    return probe.pairs.every(({ received }) => received > 0) ? true : undefined;
  });
  return (Date.now() - begin) / 1000;
}

test("a node that never comes is named, the others are converged; after build all without any network", async () => {
  const build = await cli("build", specFile);
  expect(build.status, build.stderr).toBe(0);
  const offline = ["--net", "--", join(projectRoot, "kubedos"), "up", specFile];
  const first = start("unshare", offline, { env: scratch.env });
  await until("edge-1", 120, () => killContainer(paths, "edge-1").catch(() => undefined));
  const outcome = await first.ended;
  expect(outcome.status, outcome.stderr).toBe(3);
  expect(outcome.stderr).toContain("1 node(s) did not come up");
  expect(outcome.stderr).toContain("edge-1: its machine is stopped");
  const { passed, nodes: seen, convergence } = await report();
  expect(passed).toBe(false);
  expect(seen.map(({ node, problem }) => [node, problem])).toEqual([
    ["hub", undefined],
    ["core-1", undefined],
    ["edge-1", "its machine is stopped"],
  ]);
  expect(convergence).toMatchObject({ outcome: "failed", lost: [{ node: "edge-1" }] });
  for (const { stage, status } of convergence!.stages) expect(status, stage).toMatch(/^(done|skipped)$/);

  const second = await start("unshare", offline, { env: scratch.env }).ended;
  expect(second.status, second.stderr).toBe(0);
  expect((await report()).convergence).toMatchObject({ outcome: "passed", lost: [] });
});

test("a hub that is killed in any stage goes on when it is back, and ends well", async () => {
  const { lab, spec } = await openRunning(specFile);
  const hub = spec.nodes.find(({ name }) => name === "hub")!;
  const left = new Set(
    (await report()).convergence!.stages.flatMap((one) => (one.status === "skipped" ? [] : [one.stage])),
  );
  expect([...left]).toEqual(
    expect.arrayContaining(["fabric", "baseline", "data", "edge", "observability", "acceptance"]),
  );

  await inside(
    "hub",
    "/usr/bin/systemd-run",
    "--quiet",
    "/usr/bin/node",
    "/usr/lib/kubedos/converge.cjs",
    "request",
    "{}",
  );
  let run: string | undefined;
  let done: ConvergenceProgress | undefined;
  for (;;) {
    const observer = await watch();
    // 1. A stage that the hub has not died in yet; where two run at a time, it dies in both.
    await until(`${[...left].join(", ")} to run`, 120, async () => {
      await observer.poll();
      const progress = observer.convergence();
      if (progress === undefined || progress.run === (await report()).convergence!.run) return undefined;
      run ??= progress.run;
      expect(progress.run, "it is one run all the time").toBe(run);
      const running = progress.stages.filter(({ stage, status }) => status === "running" && left.has(stage));
      for (const { stage } of running) left.delete(stage);
      if (progress.outcome !== "running") done = progress;
      return running.length > 0 || done !== undefined ? true : undefined;
    });
    if (done !== undefined) break;
    // 2. As if its power went and came back.
    await killContainer(paths, "hub");
    await substrates.nspawn.start(lab, hub, await nodeSeed(project, "hub"), scratch.context);
  }
  expect([...left], "stages that the hub did not die in").toEqual([]);
  expect(done).toMatchObject({ outcome: "passed", lost: [] });
  for (const { stage, status } of done.stages) expect(status, stage).toMatch(/^(done|kept|skipped)$/);
});

test("a disk that is full is named with its node, the others are converged; with room again all is well", async () => {
  const fill = "mount -t tmpfs -o size=9m,mode=0755 full DIR; head -c 12m /dev/zero > DIR/file || true";
  await shell("core-1", fill.replaceAll("DIR", "/var"));
  const full = await cli("converge", "--from", "acceptance", "--spec", specFile);
  expect(full.status).toBe(3);
  expect(full.stderr).toContain("core-1 was not converged: no room on its disk: 0 MiB free on /var");
  expect(full.stdout + full.stderr).not.toMatch(/(hub|edge-1) was not converged/);
  await shell("core-1", "umount -l /var");

  await shell("hub", `${fill}; chown automation DIR`.replaceAll("DIR", "/var/lib/kubedos/converge"));
  const hub = await cli("converge", "--from", "acceptance", "--spec", specFile);
  expect(hub.status).toBe(3);
  expect(hub.stderr).toMatch(/fabric, hub: the state of the run cannot be written: ENOSPC/);
  await shell("hub", "umount -l /var/lib/kubedos/converge");
  const freed = await cli("converge", "--from", "acceptance", "--spec", specFile);
  expect(freed.status, freed.stderr).toBe(0);
});

test("a plane that was cut for five minutes and an address that has changed: found again, nothing restarted", async () => {
  const before = await Promise.all(nodes.map(processes));
  // WireGuard's packets, not the plane's: sessions end as they do when a cable is cut.
  const rules = "udp dport 51823 drop; udp sport 51823 drop;";
  const hook = (name: string) => `chain ${name} { type filter hook ${name} priority -300; ${rules} };`;
  await shell("core-1", `echo 'table inet cut { ${hook("input")} ${hook("output")} };' | nft -f -`);
  const cutUntil = Date.now() + 5 * 60_000;
  await until("the cut", 20, async () => {
    const probe = (await (await watch()).ask("core-1", { command: "fabric", count: 1 }, 20_000)) as FabricProbe;
    return probe.pairs.every(({ plane, received }) => (plane === "wg3") === (received === 0)) ? true : undefined;
  });
  const moved = "ip address add 10.100.0.99/24 dev host0; ip address delete 10.100.0.13/24 dev host0";
  await shell("edge-1", moved);
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, cutUntil - Date.now())));
  await shell("core-1", "nft delete table inet cut");
  await Promise.all(["hub", "core-1", "edge-1"].map((node) => allAnswer(node, 60)));
  await shell("edge-1", "ip address add 10.100.0.13/24 dev host0; ip address delete 10.100.0.99/24 dev host0");
  await Promise.all(["hub", "edge-1"].map((node) => allAnswer(node, 60)));
  expect(await Promise.all(nodes.map(processes))).toEqual(before);
});

test("a certificate that is out of date fails its gate, and is renewed without a restart of the node", async () => {
  const { spec, vault, authorities } = project;
  const longAgo = new Date(Date.now() - (spec.trust.certificateDays + 1) * 24 * 3600 * 1000);
  const credentials = await nodeCertificates(spec, vault, authorities, "core-1", longAgo);
  const expired = Buffer.from(credentials["kubedos.pki.agent.crt"]!).toString("base64");
  await shell("core-1", `echo ${expired} | base64 -d > /run/kubedos/pki/agent.crt`);
  const outcome = await cli("up", specFile);
  expect(outcome.status).toBe(3);
  expect(outcome.stderr).toContain("gates not met: certificates");
  const gate = (await report()).gates.find((one) => one.gate === "certificates")!;
  expect(gate.checks.filter(({ ok }) => !ok)).toEqual([
    { what: "core-1: agent certificate", ok: false, evidence: expect.stringContaining("NOT VALID") as unknown },
  ]);
  const renewed = await cli("pki", "renew", "core-1", "--spec", specFile);
  expect(renewed.status, renewed.stderr).toBe(0);
  const again = await cli("up", specFile);
  expect(again.status, again.stderr).toBe(0);
});

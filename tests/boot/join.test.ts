import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { AuditLine, EnrollList, EnrollNode } from "../../shared/enroll.ts";
import type { Report } from "../../src/converge/report.ts";
import { jsonLines, kubedos, type Outcome } from "../cli/kubedos.ts";
import { labSpec, makeScratch, until, type Scratch } from "./support.ts";

// Nodes that make their own Salt keys, two hubs and a worker in containers, by the command line only. The tests build on each
// other.
let scratch: Scratch;
let specFile: string;
beforeAll(async () => {
  scratch = await makeScratch();
  specFile = join(scratch.directory, "lab.yaml");
  const features = "[agent, base, firewall, kernel, planes, salt, ssh, time]";
  const more = `platform: { features: ${features}, salt: { enrollment: join } }\nsubstrate: { name: nspawn }\n`;
  const spec = labSpec("joining").replace("  - { name: worker-1", "  - { name: hub-2, roles: [hub] }\n$&");
  await writeFile(specFile, spec + more);
});
afterAll(async () => {
  if (scratch === undefined) return;
  await cli("down", specFile);
  await scratch.remove();
});

function cli(...args: string[]): Promise<Outcome> {
  return kubedos(args, { env: scratch.env });
}

async function on(node: string, ...command: string[]): Promise<string> {
  const outcome = await cli("ssh", "--spec", specFile, node, "--", ...command);
  expect(outcome.status, `${command.join(" ")}\n${outcome.stdout}${outcome.stderr}`).toBe(0);
  return outcome.stdout.trim();
}

/** `kubedos enroll …`, which has to be done; its result as data. */
async function enroll<T>(...args: string[]): Promise<T> {
  const outcome = await cli("enroll", ...args, "--spec", specFile, "--json");
  expect(outcome.status, outcome.stdout + outcome.stderr).toBe(0);
  return jsonLines(outcome.stdout).at(-1) as T;
}

/** Undefined while the hub's service starts. */
async function hubList(): Promise<EnrollList | undefined> {
  const outcome = await cli("enroll", "list", "--spec", specFile, "--json");
  return (jsonLines(outcome.stdout).at(-1) as { hubs?: EnrollList[] }).hubs?.[0];
}

function worker(state: EnrollNode["state"]): Promise<EnrollNode> {
  return until(`worker-1 ${state}`, 60, async () => {
    const node = (await hubList())?.nodes.find((one) => one.node === "worker-1");
    return node?.state === state ? node : undefined;
  });
}

async function audit(): Promise<string[]> {
  const { logs } = await enroll<{ logs: { lines: AuditLine[] }[] }>("log");
  return logs[0]!.lines.map(({ event, node, by }) =>
    [event, node, by === "hub" ? undefined : by].filter((part) => part !== undefined).join(" "),
  );
}

async function upAgain(): Promise<Outcome> {
  const outcome = await cli("up", specFile, "--json");
  expect(outcome.status, outcome.stderr + outcome.stdout.slice(-2000)).toBe(0);
  return outcome;
}

/** As a machine does that was made anew: another key, and no minion before it is enrolled. */
async function forgetKey(): Promise<void> {
  const files = ["/var/lib/kubedos-join/minion.pem", "/var/lib/kubedos-join/token", "/run/kubedos/salt/enrolled"];
  await on("worker-1", "sudo", "rm", "-f", ...files);
  await on("worker-1", "sudo", "systemctl", "stop", "salt-minion");
  await on("worker-1", "sudo", "systemctl", "restart", "kubedos-join");
}

let first: EnrollNode;

test("up opens a window for the nodes that it starts, closes it, and every gate passes", async () => {
  const report = jsonLines((await upAgain()).stdout).at(-1) as unknown as Report;
  expect(report.gates.map(({ gate, passed }) => [gate, passed])).toEqual([
    ["fabric", true],
    ["certificates", true],
    ["enrollment", true],
    ["firewall", true],
  ]);
  const steps = await audit();
  expect(steps.slice(0, 4)).toEqual([
    "token hub operator operator",
    "token hub-2 operator operator",
    "token worker-1 operator operator",
    "opened operator operator",
  ]);
  expect(steps.slice(4, -1).toSorted()).toEqual([
    "accepted hub token",
    "accepted hub-2 token",
    "accepted worker-1 token",
    "requested hub",
    "requested hub-2",
    "requested worker-1",
  ]);
  expect(steps.at(-1)).toBe("closed operator operator");
});

test("the key was made on the node and is nowhere else; the endpoint is on the control plane only", async () => {
  first = await worker("accepted");
  expect(await on("worker-1", "sudo", "stat", "-c", "%a %U", "/var/lib/kubedos-join/minion.pem")).toBe("600 root");
  expect(await on("worker-1", "sudo", "ls", "/run/credentials/@system")).not.toMatch(/salt/);
  expect(await on("hub", "salt-key", "-F", "worker-1")).toContain(first.fingerprint);
  expect(await on("worker-1", "sudo", "journalctl", "-u", "kubedos-join", "-o", "cat")).toContain(first.fingerprint);
  const listening = (await on("hub", "sudo", "ss", "-Hltn")).split("\n").filter((line) => line.includes(":7445"));
  expect(listening.map((line) => line.split(/\s+/)[3])).toEqual(["10.101.0.1:7445"]);
  expect(await readFile(join(scratch.directory, ".kubedos/lab/enrollment.json"), "utf8")).not.toMatch(/PRIVATE/);
});

test("a node with another key waits: no window, no token, no approval, each alone keeps it out", async () => {
  await forgetKey();
  await until("its new key", 30, async () => {
    const node = (await hubList())?.nodes.find((one) => one.node === "worker-1");
    return node?.shows !== undefined && node.shows !== first.fingerprint ? node : undefined;
  });
  await enroll("open", "--minutes", "5");
  const impatient = await cli("enroll", "approve", "worker-1", "--spec", specFile);
  expect(impatient).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/no request of worker-1 waits/) as string,
  });
  await enroll("token", "worker-1");
  const waiting = await worker("waiting");
  expect(waiting).toMatchObject({ replaces: first.fingerprint, token: "used" });
  // The hub's service dies in the middle of it.
  await on("hub", "sudo", "systemctl", "kill", "--signal=KILL", "kubedos-enroll");
  expect((await worker("waiting")).fingerprint).toBe(waiting.fingerprint);
  await enroll("deny", "worker-1");
  expect(await on("hub", "salt-key", "-F", "worker-1")).toContain(first.fingerprint);
  await enroll("token", "worker-1");
  const again = await worker("waiting");
  await enroll("approve", "worker-1", "--key", again.fingerprint!);
  await enroll("close");
  await until("the minion with its new key", 60, async () => {
    const answers = await on("hub", "salt", "--static", "--out=json", "*", "test.ping").catch(() => "{}");
    return /"worker-1": true/.test(answers) ? answers : undefined;
  });
  for (const hub of ["hub", "hub-2"]) {
    expect(await on(hub, "salt-key", "-F", "worker-1"), hub).toContain(again.fingerprint);
  }
});

test("a node's own certificate and a token that is none: refused, and told with the reason", async () => {
  const script = [
    "const [fs, https] = [require('fs'), require('https')];",
    "const pki = (name) => fs.readFileSync('/run/kubedos/pki/' + name);",
    "const ca = [pki('root.ca.crt'), pki('agent.ca.crt')];",
    "const options = { host: '10.101.0.1', port: 7445, path: '/enrollment', method: 'POST', ca };",
    "const own = { cert: pki('agent.crt'), key: pki('agent.key') };",
    "const request = https.request({ ...options, ...own }, (answer) => answer.pipe(process.stdout));",
    "request.end('{}');",
  ].join("\n");
  const ask = async () => JSON.parse(await on("worker-1", "sudo", "node", "-e", script)) as unknown;
  expect(await ask()).toMatchObject({ window: "closed", refused: "closed" });
  await enroll("open", "--minutes", "1", "--token-only");
  expect(await ask()).toMatchObject({ window: "open", refused: "malformed", state: "accepted" });
  await enroll("close");
  const text = (await cli("enroll", "log", "--spec", specFile)).stdout;
  expect(text).toMatch(/refused +worker-1 \(closed\)/);
  expect(text).toMatch(/refused +worker-1 \(malformed\)/);
});

test("a hub that starts anew knows whom it has accepted, and up opens no window for them", async () => {
  const before = await audit();
  // Its status says nothing: the machine may be off before the connection is closed.
  await cli("ssh", "--spec", specFile, "hub", "--", "sudo", "systemctl", "poweroff", "--no-block");
  await until("the hub to be off", 30, async () => {
    const status = await cli("status", specFile, "--json");
    return /"node":"hub"[^}]*"state":"stopped"/.test(status.stdout) ? status : undefined;
  });
  await upAgain();
  expect(await audit()).toEqual(before);
});

test("an audit log that was changed is found out, and then no window opens", async () => {
  const file = "/var/lib/kubedos-enroll/audit.jsonl";
  await on("hub", "sudo", "sed", "-i", 's/"event":"denied"/"event":"removed"/', file);
  const log = await cli("enroll", "log", "--spec", specFile);
  expect(log).toMatchObject({
    status: 3,
    stdout: expect.stringMatching(/NOT WHOLE: line \d+ does not follow/) as string,
  });
  await on("hub", "sudo", "systemctl", "restart", "kubedos-enroll");
  const open = await until("the service to answer", 30, async () => {
    const outcome = await cli("enroll", "open", "--spec", specFile);
    return /does not answer/.test(outcome.stderr) ? undefined : outcome;
  });
  expect(open).toMatchObject({ status: 1, stderr: expect.stringMatching(/the audit log is not whole/) as string });
});

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Lock } from "../../src/lock/types.ts";
import { kubedos, type Outcome } from "../cli/kubedos.ts";
import { labSpec, makeScratch, type Scratch } from "./support.ts";

// A cluster without a way out: two hubs that serve the lock's packages, and a worker whose apt uses them.
let scratch: Scratch;
let specFile: string;
let spec: string;
const hubs = "mirror+file:/run/kubedos/apt/hubs.list/";
beforeAll(async () => {
  scratch = await makeScratch();
  specFile = join(scratch.directory, "lab.yaml");
  spec = labSpec("lab")
    .replace("targets:", "substrate: { name: nspawn }\nplatform: { repository: { mode: darksite } }\ntargets:")
    .replace("  - { name: worker-1", "  - { name: hub-2, roles: [hub] }\n  - { name: worker-1");
  await writeFile(specFile, spec);
  const { status, stderr } = await cli("up", specFile);
  if (status !== 0) throw new Error(stderr);
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
  const { status, stdout, stderr } = await cli("ssh", "--spec", specFile, node, "--", ...command);
  expect(status, `${command.join(" ")}\n${stdout}${stderr}`).toBe(0);
  return stdout;
}

test("the worker's sources are the hubs, with the foundry's key, and nothing else", async () => {
  const uris = await on("worker-1", "sudo apt-get update --print-uris");
  expect([...new Set(uris.match(/^'[^']+\/dists\/[^/]+\//gm))]).toEqual([`'${hubs}dists/trixie/`]);
  expect(await on("worker-1", "grep -h Signed-By /etc/apt/sources.list.d/*")).toBe(
    "Signed-By: /run/kubedos/layer/archive.asc\n",
  );
  expect(await on("worker-1", "cat /run/kubedos/apt/hubs.list")).toBe(
    "http://10.101.0.1:7480/\nhttp://10.101.0.2:7480/\n",
  );
  expect(await on("worker-1", "find /etc/apt/ -name '*.list' -o -name '*.sources' -o -name trusted.gpg")).toBe(
    "/etc/apt/sources.list.d/kubedos.sources\n",
  );
});

test("apt on the worker updates, resolves and downloads from a hub", async () => {
  expect(await on("worker-1", "sudo apt-get update --error-on=any")).toContain("http://10.101.0.");
  expect(await on("worker-1", "apt-get -s install --reinstall bash")).toMatch(/^Inst bash .*kubedos lab:trixie/m);
  const sum = await on("worker-1", "cd /tmp && sudo apt-get -q download bash && sha256sum bash_*.deb");
  const lock = JSON.parse(await readFile(join(scratch.directory, "lab.lock"), "utf8")) as Lock;
  expect(sum).toContain(lock.platform.find(({ name }) => name === "bash")!.sha256);
});

test("one hub less, and apt asks the other; none, and apt says so", async () => {
  await on("hub", "sudo systemctl stop kubedos-repository");
  expect(await on("worker-1", "sudo apt-get update --error-on=any")).toContain("http://10.101.0.2:7480");
  await on("hub-2", "sudo systemctl stop kubedos-repository");
  const { status, stdout, stderr } = await cli(
    "ssh",
    "--spec",
    specFile,
    "worker-1",
    "--",
    "sudo apt-get update --error-on=any",
  );
  expect(status).not.toBe(0);
  expect(`${stdout}${stderr}`).toMatch(/10\.101\.0\.[12].*7480/);
});

test("the server reads one file and binds one address, as a user of its own", async () => {
  await on("hub", "sudo systemctl start kubedos-repository");
  const listening = await on("hub", "sudo ss -Hltnp sport = :7480");
  expect(listening.trim().split("\n")).toHaveLength(1);
  expect(listening).toContain("10.101.0.1:7480");
  expect(await on("hub", "ps -o user:32= -p $(systemctl show -P MainPID kubedos-repository)")).toBe(
    "kubedos-repository\n",
  );
  expect(await on("worker-1", "systemctl is-active kubedos-repository || true")).toBe("inactive\n");
});

// The platform's image stays: only the cluster layer differs.
test.each([
  ["connected", ["http://deb.debian.org/debian-security/", "http://deb.debian.org/debian/"], "inactive"],
  ["both", ["http://deb.debian.org/debian-security/", "http://deb.debian.org/debian/", hubs], "active"],
])("mode %s: the sources, and whether the hub serves", async (mode, sources, serves) => {
  await cli("down", specFile);
  const nodes = /^nodes:\n(.*\n)*/m;
  await writeFile(
    specFile,
    spec.replace("mode: darksite", `mode: ${mode}`).replace(nodes, "nodes:\n  - { name: hub, roles: [hub] }\n"),
  );
  expect(await cli("up", specFile)).toMatchObject({ status: 0 });
  const uris = await on("hub", "apt-get update --print-uris");
  const bases = [...uris.matchAll(/^'([^']+\/)dists\//gm)].map(([, base]) => base!);
  expect([...new Set(bases)].toSorted()).toEqual(sources);
  expect(await on("hub", "systemctl is-active kubedos-repository || true")).toBe(`${serves}\n`);
});

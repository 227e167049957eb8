// What the parts of the benchmark share.
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const root = join(import.meta.dirname, "../..");
export const launcher = join(root, "kubedos");

export async function scratchDirectory() {
  const directory = await mkdtemp(join(process.env.BENCH_TMPDIR ?? tmpdir(), "kubedos-bench-"));
  return { directory, remove: () => rm(directory, { recursive: true, force: true }) };
}

/** Runs a command; resolves with its output, its seconds and its peak memory in MiB. Fails with its output. */
export function timed(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn("/usr/bin/env", [command, ...args], {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => (stdout += chunk));
    child.stderr.on("data", (chunk) => (stderr += chunk));
    child.on("error", reject);
    child.on("close", (status) => {
      const seconds = (performance.now() - started) / 1000;
      if (status === 0 || options.mayFail) resolve({ stdout, stderr, seconds, status });
      else reject(new Error(`${command} ${args.join(" ")}: status ${status}\n${(stdout + stderr).slice(-3000)}`));
    });
  });
}

export function kubedos(args, options) {
  return timed(launcher, args, options);
}

/** A spec with one hub and workers, with an index for each, so that adding a node changes no address. */
export async function writeSpec(file, { name, nodes, substrate = "qemu", topology = "mesh" }) {
  const list = Array.from({ length: nodes }, (_, at) =>
    at === 0
      ? "  - { name: hub, index: 1, roles: [hub] }"
      : `  - { name: worker-${at}, index: ${at + 1}, roles: [worker] }`,
  );
  const gates = substrate === "nspawn" ? "acceptance: { gates: [fabric, firewall] }" : "";
  const planes = ["control", "observability", "backend"].map(
    (purpose, at) =>
      `  - { name: wg${at + 1}, purpose: ${purpose}, cidr: 10.${101 + at}.0.0/16, port: ${51821 + at}, topology: ${topology} }`,
  );
  const lines = [
    "apiVersion: kubedos/v1",
    `metadata: { name: ${name} }`,
    `substrate: { name: ${substrate} }`,
    "underlay: { cidr: 10.100.0.0/16 }",
    "planes:",
    ...planes,
    gates,
    "nodes:",
    ...list,
  ];
  await writeFile(file, `${lines.filter((line) => line !== "").join("\n")}\n`);
}

/** The events of a `--json` run. */
export function events(stdout) {
  return stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line));
}

// Runs every group of tests and sums them up. `--fast` leaves slow ones and the machines out.
// Types, lint and format count as one test each. Exit status 1 if anything failed.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";

const root = join(import.meta.dirname, "..");
const fast = process.argv.includes("--fast");
const scratch = await mkdtemp(join(tmpdir(), "kubedos-test-"));
const children = new Set();
let stopped = false;
for (const name of ["SIGINT", "SIGTERM"]) {
  process.on(name, () => {
    stopped = true; // no further group is begun
    for (const child of children) child.kill(name);
    process.exitCode = 130;
  });
}

try {
  const results = [
    ...(await Promise.all([
      tool("types", "node_modules/typescript/bin/tsc", ["--noEmit"]),
      tool("lint", "node_modules/oxlint/bin/oxlint", ["--type-aware"]),
      tool("format", "node_modules/oxfmt/bin/oxfmt", ["--check", "."]),
    ])),
    await vitest("unit"),
  ];
  if (!fast) results.push(await vitest("slow"), await vitest("machine"));
  report(results);
  if (results.some((group) => group.failed > 0)) process.exitCode ||= 1;
} finally {
  await rm(scratch, { recursive: true, force: true });
}

/** One tool that passes or fails as a whole; its output is shown where it fails. */
async function tool(name, script, args) {
  const { status, output, seconds } = await runNode([script, ...args], "pipe");
  if (status !== 0) console.log(`--- ${name} ---\n${output}`);
  return { name, passed: status === 0 ? 1 : 0, failed: status === 0 ? 0 : 1, skipped: 0, seconds };
}

/** One vitest project; its counts come from vitest's own report. */
async function vitest(name) {
  if (stopped) return { name, passed: 0, failed: 1, skipped: 0, seconds: 0 };
  console.log(`--- ${name} ---`);
  const file = join(scratch, `${name}.json`);
  const args = [
    "run",
    "--project",
    name,
    "--passWithNoTests",
    "--reporter=default",
    "--reporter=json",
    `--outputFile=${file}`,
  ];
  const { status, seconds } = await runNode(["node_modules/vitest/vitest.mjs", ...args], "inherit");
  const text = await readFile(file, "utf8").catch(() => undefined);
  if (text === undefined) return { name, passed: 0, failed: status === 0 ? 0 : 1, skipped: 0, seconds };
  const summary = JSON.parse(text);
  // A file that could not be loaded has no tests in it, and an error outside of tests none either.
  const unloaded = summary.testResults.filter(
    (one) => one.status === "failed" && one.assertionResults.length === 0,
  ).length;
  const failed = summary.numFailedTests + unloaded;
  return {
    name,
    failures: summary.testResults.flatMap(failuresOf),
    passed: summary.numPassedTests,
    failed: failed === 0 && status !== 0 ? 1 : failed,
    skipped: summary.numPendingTests + summary.numTodoTests,
    seconds,
  };
}

/** A text for each test of a file that failed, or for the file that could not be loaded: the reason's first line and end. */
function failuresOf({ name, status, message, assertionResults }) {
  const text = (what, reason = "") => {
    const [first, ...rest] = reason.split("\n").filter((line) => !/^ +at /.test(line));
    return [`${what}: ${first}`, ...rest.slice(-12).map((line) => `  ${line}`)]
      .map((line) => line.slice(0, 240))
      .join("\n");
  };
  const file = relative(root, name);
  if (status === "failed" && assertionResults.length === 0) return [text(file, message)];
  const failed = assertionResults.filter((one) => one.status === "failed");
  return failed.map(({ fullName, failureMessages }) => text(`${file}: ${fullName}`, failureMessages[0]));
}

function runNode(args, stdio) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(process.execPath, args, {
      cwd: root,
      stdio: ["ignore", stdio, stdio],
      env: { ...process.env, CI: process.env.CI ?? "true" },
    });
    children.add(child);
    let output = "";
    child.stdout?.on("data", (chunk) => (output += chunk));
    child.stderr?.on("data", (chunk) => (output += chunk));
    child.on("error", reject);
    child.on("close", (status) => {
      children.delete(child);
      resolve({ status: status ?? 1, output, seconds: (performance.now() - started) / 1000 });
    });
  });
}

function report(results) {
  const sum = (field) => results.reduce((total, group) => total + group[field], 0);
  const row = (cells) =>
    `${cells[0].padEnd(10)}${cells
      .slice(1)
      .map((cell) => String(cell).padStart(9))
      .join("")}`;
  console.log(`\n${row(["group", "passed", "failed", "skipped", "seconds"])}`);
  for (const { name, passed, failed, skipped, seconds } of results) {
    console.log(row([name, passed, failed, skipped, seconds.toFixed(1)]));
  }
  // Once more, where the end of a long log is all that one has.
  const failures = results.flatMap((group) => group.failures ?? []);
  if (failures.length > 0) console.log(`\n${failures.map((failure) => `failed  ${failure}`).join("\n")}`);
  console.log(`\nTests: ${sum("passed")} passed, ${sum("failed")} failed, ${sum("skipped")} skipped`);
}

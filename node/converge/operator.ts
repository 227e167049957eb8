import { renameSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { automationPaths, type ConvergeOptions, type ConvergeRequest } from "../../shared/convergence.ts";
import type { EventBody } from "../../shared/events.ts";
import { exec } from "../agent/exec.ts";
import { followLines } from "../agent/follow.ts";
import { sleep } from "../agent/text.ts";
import { requestFile, runId } from "./engine.ts";

const unit = "kubedos-converge.service";
const eventsFile = join(automationPaths.run, "events.jsonl");
const pollMs = 150;
/** The service has this long to say its first word. */
const silenceMs = 120_000;
/** How often, in polls, it is asked whether the service still lives. */
const aliveEvery = 14;

type Done = EventBody & { type: "converge.done" };

/** Asks the service for a run, after the one that is going on if there is one, and shows it until it ends. */
export async function requestRun(options: string): Promise<number> {
  const request: ConvergeRequest = {
    id: runId(new Date().toISOString()),
    options: JSON.parse(options) as ConvergeOptions,
  };
  while (await isActive()) await sleep(pollMs * 2);
  writeFileSync(`${requestFile()}.new`, JSON.stringify(request), { mode: 0o644 });
  renameSync(`${requestFile()}.new`, requestFile());
  const { status, stderr } = await exec("systemctl", ["start", unit]);
  if (status !== 0) throw new KubedosError("failed", stderr.trim());
  return exitStatus(await follow(request.id));
}

/** Shows the last run, or the one that is going on, until it ends. */
export async function watchRun(): Promise<number> {
  return exitStatus(await follow(undefined));
}

function exitStatus(done: Done): number {
  return done.outcome === "passed" ? 0 : 3;
}

/** Prints the events of a run (absent: of the last one that has begun) until its end. */
async function follow(run: string | undefined): Promise<Done> {
  let lines: string[] = [];
  let current = run;
  let done: Done | undefined;
  const follower = followLines(eventsFile, (line) => {
    const event = parse(line);
    if (event === undefined) return;
    if (run === undefined && event.type === "converge.started") {
      current = event.run;
      done = undefined;
      lines = [];
    }
    if (!("run" in event) || event.run !== current) return;
    lines.push(line);
    if (event.type === "converge.done") done = event;
  });
  const begin = Date.now();
  for (let turn = 1; ; turn++) {
    follower.poll();
    if (lines.length > 0) writeSync(1, lines.map((line) => `${line}\n`).join(""));
    const seen = lines.length > 0;
    lines = [];
    if (done !== undefined) return done;
    if (turn % aliveEvery === 0 && !seen && !(await isActive())) {
      follower.poll();
      if (done !== undefined) continue;
      if (Date.now() - begin > silenceMs) {
        throw new KubedosError("failed", `${unit} is not running, and its last run has not ended`, {
          hint: `journalctl -u ${unit}`,
        });
      }
    }
    await sleep(pollMs);
  }
}

function parse(line: string): EventBody | undefined {
  try {
    return JSON.parse(line) as EventBody;
  } catch {
    return undefined;
  }
}

async function isActive(): Promise<boolean> {
  const { stdout } = await exec("systemctl", ["is-active", unit]);
  return ["active", "activating", "deactivating", "reloading"].includes(stdout.trim());
}

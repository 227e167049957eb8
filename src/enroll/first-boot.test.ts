import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EnrollCommand, EnrollList, EnrollNode } from "../../shared/enroll.ts";
import type { EventBody } from "../../shared/events.ts";
import { exampleLayer } from "../../shared/render/testing.ts";
import { specPaths } from "../host/paths.ts";
import { enrollFirstBoot } from "./first-boot.ts";
import { issueToken, tokenCluster } from "./tokens.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "kubedos-first-boot-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const layer = { ...exampleLayer({ nodes: 2 }), salt: { masterKey: "", enrollment: "join" as const } };
const twoHubs = { ...layer, nodes: [...layer.nodes, { ...layer.nodes[0]!, name: "hub-2" }] };
const enrolled: EnrollNode = { node: "", state: "accepted", fingerprint: "aa", shows: "aa", token: "used", refused: 0 };
const window = { openedAt: "T1", closesAt: "T2", by: "operator alice", approval: true };

/**
 * Fake hubs, which answer commands from a list of how worker-1 stands; the last one stays.
 *
 * @returns what `up` has asked for besides lists, and what it has said
 */
async function run(
  states: Partial<EnrollNode>[],
  started: string[],
  theirs = false,
  second?: Partial<EnrollNode>[],
): Promise<string[]> {
  const said: string[] = [];
  let open = theirs;
  const shell = async (hub: string, _command: readonly string[], options?: { input?: string }) => {
    const command = JSON.parse(options?.input ?? "") as EnrollCommand;
    if (command.command === "open") open = true;
    if (command.command === "close") open = false;
    if (command.command !== "list")
      said.push("tokens" in command ? `${command.command} ${command.tokens.length}` : command.command);
    const queue = hub === "hub-2" ? second! : states;
    const worker = queue.length > 1 ? queue.shift()! : queue[0]!;
    const nodes = [
      { ...enrolled, node: "hub-1" },
      ...(second === undefined ? [] : [{ ...enrolled, node: "hub-2" }]),
      { ...enrolled, node: "worker-1", ...worker },
    ];
    const data: EnrollList = { hub, mode: "join", ...(open && { window }), nodes, audit: { lines: 1 } };
    return { status: 0, stdout: JSON.stringify({ ok: true, data }), stderr: "" };
  };
  const paths = specPaths(join(directory, "lab.yaml"));
  const wanted = second === undefined ? layer : twoHubs;
  await issueToken(paths, tokenCluster(wanted), "worker-1");
  const emit = (event: EventBody) => {
    if (event.type === "log") said.push(`${event.level}: ${event.message}`);
  };
  const context = { emit, signal: new AbortController().signal, offline: false };
  await enrollFirstBoot({ paths, layer: wanted, shell }, started, [], context);
  return said;
}

const [fresh, asking] = [
  { shows: "bb", token: "none" },
  { shows: "bb", token: "valid" },
] as const;

test("the window is open until the nodes that were started are enrolled with the key that they have now", async () => {
  expect(await run([fresh, asking, asking, { fingerprint: "bb", shows: "bb" }], ["worker-1"])).toEqual([
    "open 1",
    "info: enrollment window open on hub-1, for at most 5 minutes",
    expect.stringMatching(/^info: worker-1 is enrolled: its Salt key is sha256 bb/) as string,
    "close",
  ]);
});

test("no window opens where everybody is enrolled", async () => {
  expect(await run([{}], ["hub-1", "worker-1"])).toEqual([]);
  expect(await run([{ shows: "old" }], [])).toEqual([]); // not started now: what it once showed says nothing
});

test("a node that only a person can help is not waited for", async () => {
  expect(await run([fresh, asking, { state: "denied" }], ["worker-1"])).toEqual([
    "open 1",
    "info: enrollment window open on hub-1, for at most 5 minutes",
    "warn: not enrolled: worker-1",
    "close",
  ]);
});

test("an operator's window stays as it is: open, with approval", async () => {
  expect(await run([fresh, asking, { state: "waiting", token: "used" }], ["worker-1"], true)).toEqual([
    "info: an operator's enrollment window is open: it stays as it is",
    "tokens 1",
    "warn: not enrolled: worker-1",
  ]);
});

test("a node that one of two hubs has enrolled, its token used there, is waited for at the other", async () => {
  const taken = { fingerprint: "bb", shows: "bb" };
  // Each list and the opening take one; the second hub is later.
  expect(await run([fresh, asking, taken], ["worker-1"], false, [fresh, asking, asking, asking, taken])).toEqual([
    "open 1",
    "open 1",
    "info: enrollment window open on hub-1, hub-2, for at most 5 minutes",
    expect.stringMatching(/^info: worker-1 is enrolled: its Salt key is sha256 bb/) as string,
    "close",
    "close",
  ]);
});

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { exampleLayer } from "../../shared/render/testing.ts";
import { hubToken } from "../../node/enroll/join.ts";
import { sha256 } from "../../node/enroll/store.ts";
import { compareLog, issueToken, tokenCluster, tokensFor } from "./tokens.ts";

let state: string;
beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), "kubedos-tokens-"));
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(state, { recursive: true });
});
const example = tokenCluster(exampleLayer({ nodes: 4, hubs: 2 }));

test("what a hub is told is the hash of what the node shows it, another one at each hub", async () => {
  const secret = await issueToken({ state }, example, "worker-1");
  const hashes = await Promise.all(["hub-1", "hub-2"].map(async (hub) => (await tokensFor({ state }, hub))[0]?.hash));
  expect(hashes).toEqual(
    ["hub-1", "hub-2"].map((hub) => sha256(hubToken(secret, { cluster: "example", hub, node: "worker-1" }))),
  );
  expect(hashes[0]).not.toBe(hashes[1]);
  expect(Buffer.from(secret, "base64url")).toHaveLength(32);
  expect(readFileSync(join(state, "enrollment.json"), "utf8")).not.toContain(secret);
  expect(await issueToken({ state }, example, "worker-1")).not.toBe(secret);
  expect(await tokensFor({ state }, "hub-1")).toHaveLength(1);
});

test("a hub is told how long a token is still good, and none that is over", async () => {
  vi.useFakeTimers({ toFake: ["Date"], now: new Date("2026-01-01T00:00:00Z") });
  await issueToken({ state }, example, "worker-1", 10);
  await issueToken({ state }, example, "worker-2", 60);
  vi.setSystemTime(new Date("2026-01-01T00:09:30Z"));
  expect((await tokensFor({ state }, "hub-1")).map(({ node, validSeconds }) => [node, validSeconds])).toEqual([
    ["worker-1", 30],
    ["worker-2", 3030],
  ]);
  vi.setSystemTime(new Date("2026-01-01T00:10:00Z"));
  expect((await tokensFor({ state }, "hub-1")).map(({ node }) => node)).toEqual(["worker-2"]);
  await expect(issueToken({ state }, example, "worker-1", 20_000)).rejects.toThrow(/20000 minutes/);
});

test("an audit log that has lost or changed a line that was seen before is found out", async () => {
  const compare = (...hashes: string[]) => compareLog({ state }, "hub-1", hashes);
  expect(await compare("a", "b")).toBeUndefined();
  expect(await compare("a", "b", "c")).toBeUndefined();
  expect(await compare("a", "b")).toBe("it has 2 lines, and had 3 when it was last seen here");
  expect(await compare("x", "y", "z", "w")).toBe("line 3 is another one than when it was last seen here");
  expect(await compare("a", "b", "c", "d")).toBeUndefined();
  expect(statSync(join(state, "enrollment.json")).isFile()).toBe(true);
});

test("damaged notes are said to be so", async () => {
  writeFileSync(join(state, "enrollment.json"), "{");
  await expect(tokensFor({ state }, "hub-1")).rejects.toThrow(/enrollment.json is damaged/);
});

import { sign } from "node:crypto";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type AuditLine, readAudit } from "../../shared/enroll.ts";
import { cluster, hubBench, type HubBench, requestText, rsaKey } from "./testing.ts";
import { sha256 } from "./store.ts";

let bench: HubBench;
beforeEach(() => {
  bench = hubBench();
});
afterEach(() => rmSync(bench.directory, { recursive: true }));

const key = rsaKey("worker-1");
const other = rsaKey("another");
const openWindow = { command: "open", seconds: 600, approval: false, tokens: [] };

function audit(): AuditLine[] {
  const { lines, broken } = readAudit(readFileSync(join(bench.directory, "audit.jsonl"), "utf8"), sha256);
  expect(broken).toBeUndefined();
  return lines;
}

/** Events of the audit log: `event node reason`. */
function told(): string[] {
  return audit().map(({ event, node, reason }) => [event, node, reason].filter((part) => part !== undefined).join(" "));
}

function acceptedKeys(): Record<string, string> {
  const names = readdirSync(join(bench.directory, "keys"));
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(bench.directory, "keys", name), "utf8")]));
}

function worker() {
  return bench.hub.list().nodes.find(({ node }) => node === "worker-1")!;
}

test("a valid token in an open window enrolls its node's key, and every step is in the audit log", () => {
  const secret = bench.issue("worker-1");
  bench.command(openWindow);
  const answer = bench.hub.join("worker-1", requestText(secret, "worker-1", key));
  expect(answer).toEqual({ window: "open", state: "accepted", fingerprint: key.fingerprint });
  expect(acceptedKeys()).toEqual({ "worker-1": key.publicKey.trim() });
  bench.command({ command: "close" });
  expect(audit().map(({ event, node, by, fingerprint }) => ({ event, node, by, fingerprint }))).toEqual([
    { event: "token", node: "worker-1", by: "operator alice" },
    { event: "opened", by: "operator alice" },
    { event: "requested", node: "worker-1", fingerprint: key.fingerprint },
    { event: "accepted", node: "worker-1", by: "token", fingerprint: key.fingerprint },
    { event: "closed", by: "operator alice" },
  ]);
  expect(bench.journal).toEqual(readFileSync(join(bench.directory, "audit.jsonl"), "utf8").trimEnd().split("\n"));
  expect(statSync(join(bench.directory, "state.json")).mode & 0o777).toBe(0o600);
  // Nobody who reads the hub's disk learns a token.
  expect(readFileSync(join(bench.directory, "state.json"), "utf8")).not.toContain(secret);
});

test("with approval nobody is accepted before an operator says so, and only the key that was shown", () => {
  const secret = bench.issue("worker-1");
  bench.command({ ...openWindow, approval: true });
  expect(bench.hub.join("worker-1", requestText(secret, "worker-1", key)).state).toBe("waiting");
  expect(acceptedKeys()).toEqual({});
  const approve = { command: "approve", node: "worker-1" };
  expect(() => bench.command({ ...approve, fingerprint: other.fingerprint })).toThrow(/that waits is .*, not /);
  expect(() => bench.command({ ...approve, node: "hub-1" })).toThrow("no request of hub-1 waits");
  expect(() => bench.command({ ...approve, node: "mallory" })).toThrow("the cluster has no node mallory");
  bench.command({ ...approve, fingerprint: key.fingerprint });
  expect(acceptedKeys()).toEqual({ "worker-1": key.publicKey.trim() });
  expect(told().slice(-2)).toEqual(["approved worker-1", "accepted worker-1"]);
});

test("a denied node stays outside until it has a new token", () => {
  const secret = bench.issue("worker-1");
  bench.command({ ...openWindow, approval: true });
  bench.hub.join("worker-1", requestText(secret, "worker-1", key));
  bench.command({ command: "deny", node: "worker-1" });
  expect(bench.hub.status("worker-1").state).toBe("denied");
  expect(bench.hub.join("worker-1", requestText(secret, "worker-1", key))).toMatchObject({ refused: "used token" });
  expect(acceptedKeys()).toEqual({});
  const fresh = bench.issue("worker-1");
  expect(bench.hub.join("worker-1", requestText(fresh, "worker-1", key)).state).toBe("waiting");
});

test("a used token is worth nothing: replayed by its node, with another key, after a restart", () => {
  const secret = bench.issue("worker-1");
  bench.command(openWindow);
  const sent = requestText(secret, "worker-1", key);
  expect(bench.hub.join("worker-1", sent).state).toBe("accepted");
  expect(bench.hub.join("worker-1", sent).refused).toBe("used token");
  expect(bench.hub.join("worker-1", requestText(secret, "worker-1", other)).refused).toBe("used token");
  bench.restart();
  expect(bench.hub.join("worker-1", sent).refused).toBe("used token");
  // Told again by an operator who has noted it: still used.
  const [hash] = Object.keys(bench.store.state().tokens);
  bench.command({ command: "tokens", tokens: [{ node: "worker-1", hash, validSeconds: 3600 }] });
  expect(bench.hub.join("worker-1", sent).refused).toBe("used token");
  expect(acceptedKeys()).toEqual({ "worker-1": key.publicKey.trim() });
});

test("expired, unknown and void tokens are refused", () => {
  const secret = bench.issue("worker-1", 60);
  bench.command(openWindow);
  bench.clock.now += 60_000;
  expect(bench.hub.join("worker-1", requestText(secret, "worker-1", key)).refused).toBe("expired token");
  const unknown = Buffer.alloc(32, 7).toString("base64url");
  expect(bench.hub.join("worker-1", requestText(unknown, "worker-1", key)).refused).toBe("unknown token");
  const first = bench.issue("worker-1");
  bench.issue("worker-1"); // takes its place
  expect(bench.hub.join("worker-1", requestText(first, "worker-1", key)).refused).toBe("used token");
  expect(told().filter((line) => line.startsWith("refused"))).toEqual([
    "refused worker-1 expired token",
    "refused worker-1 unknown token",
    "refused worker-1 used token",
  ]);
});

test("a token that another node shows is refused there, and void from then on", () => {
  const secret = bench.issue("worker-1");
  bench.command(openWindow);
  const { token } = JSON.parse(requestText(secret, "worker-1", key)) as { token: string };
  // hub-1 signs for itself, with worker-1's token in the text.
  const stolen = requestText(secret, "worker-1", other);
  expect(bench.hub.join("hub-1", stolen).refused).toBe("wrong key");
  const forged = signedBy("hub-1", token);
  expect(bench.hub.join("hub-1", forged).refused).toBe("token of another node");
  expect(bench.hub.join("worker-1", requestText(secret, "worker-1", key)).refused).toBe("used token");
  expect(acceptedKeys()).toEqual({});
});

/** A request in which everything fits but whose token it is. */
function signedBy(node: string, token: string): string {
  const text = ["kubedos enrollment", cluster.clusterId, cluster.hub, node, token].join("\0");
  const proof = sign("sha256", Buffer.from(text), other.privateKey).toString("base64");
  return JSON.stringify({ token, publicKey: other.publicKey, proof });
}

test("a key that the node does not have, a short one, and another node's are refused", () => {
  const secret = bench.issue("worker-1");
  bench.command(openWindow);
  const join1 = (text: string) => bench.hub.join("worker-1", text).refused;
  expect(join1(requestText(secret, "worker-1", key, { publicKey: other.publicKey }))).toBe("wrong key");
  expect(join1(requestText(secret, "worker-1", rsaKey("short", 1024)))).toBe("wrong key");
  // Proofs are for one hub and one node.
  const { proof } = JSON.parse(requestText(secret, "hub-1", key)) as { proof: string };
  expect(join1(requestText(secret, "worker-1", key, { proof }))).toBe("wrong key");
  const own = bench.issue("hub-1");
  expect(bench.hub.join("hub-1", requestText(own, "hub-1", other)).state).toBe("accepted");
  expect(join1(requestText(secret, "worker-1", other))).toBe("key of another node");
  // None of this has used the token up.
  expect(bench.hub.join("worker-1", requestText(secret, "worker-1", key)).state).toBe("accepted");
});

test("nothing is taken while the window is closed, and knocking does not fill the log", () => {
  const secret = bench.issue("worker-1");
  const sent = requestText(secret, "worker-1", key);
  for (let i = 0; i < 50; i += 1) expect(bench.hub.join("worker-1", sent).refused).toBe("closed");
  expect(told()).toEqual(["token worker-1 valid for 60 minutes", "refused worker-1 closed"]);
  bench.command(openWindow);
  bench.clock.now += 600_000;
  expect(bench.hub.join("worker-1", sent).refused).toBe("closed");
  expect(told().at(-1)).toBe("refused worker-1 closed");
  expect(told()).toContain("expired window");
  bench.command(openWindow);
  expect(bench.hub.join("worker-1", sent).state).toBe("accepted");
});

test("requests that nobody has decided end with the window", () => {
  const secret = bench.issue("worker-1");
  bench.command({ ...openWindow, approval: true });
  bench.hub.join("worker-1", requestText(secret, "worker-1", key));
  bench.clock.now += 600_000;
  bench.hub.tick();
  expect(worker()).toMatchObject({ state: "none", token: "used" });
  expect(() => bench.command({ command: "approve", node: "worker-1" })).toThrow("no request of worker-1 waits");
  expect(told().slice(-2)).toEqual(["expired worker-1 nobody has decided", "expired window"]);
});

test("a restart neither closes nor prolongs the window; a clock that went back closes it", () => {
  const secret = bench.issue("worker-1");
  bench.command({ ...openWindow, approval: true });
  bench.clock.now += 300_000;
  bench.hub.join("worker-1", requestText(secret, "worker-1", key));
  bench.restart();
  expect(bench.hub.list().window).toMatchObject({ closesAt: "2026-01-01T00:10:00.000Z", approval: true });
  expect(worker().state).toBe("waiting");
  bench.clock.now -= 7_200_000;
  bench.restart();
  bench.hub.tick();
  expect(bench.hub.list().window).toBeUndefined();
});

test("after five refused requests a node is locked until the window is opened anew or it has a new token", () => {
  const wrong = Buffer.alloc(32, 9).toString("base64url");
  bench.command(openWindow);
  for (let i = 0; i < 5; i += 1) bench.hub.join("worker-1", requestText(wrong, "worker-1", key));
  expect(bench.hub.join("worker-1", requestText(wrong, "worker-1", key)).refused).toBe("locked");
  const own = bench.issue("hub-1");
  expect(bench.hub.join("hub-1", requestText(own, "hub-1", other)).state).toBe("accepted"); // only the one
  const secret = bench.issue("worker-1");
  expect(bench.hub.join("worker-1", requestText(secret, "worker-1", key)).state).toBe("accepted");
});

test("a machine that was made anew takes its node's place, and the log names both keys", () => {
  bench.command(openWindow);
  bench.hub.join("worker-1", requestText(bench.issue("worker-1"), "worker-1", key));
  bench.hub.join("worker-1", requestText(bench.issue("worker-1"), "worker-1", other));
  expect(acceptedKeys()).toEqual({ "worker-1": other.publicKey.trim() });
  expect(
    audit()
      .slice(-2)
      .map(({ event, fingerprint }) => [event, fingerprint]),
  ).toEqual([
    ["removed", key.fingerprint],
    ["accepted", other.fingerprint],
  ]);
});

test("a node that the layer does not name any more, or with another generation, is enrolled no longer", () => {
  bench.command(openWindow);
  for (const node of ["worker-1", "constructor"]) {
    bench.hub.join(node, requestText(bench.issue(node), node, node === "worker-1" ? key : other));
  }
  expect(Object.keys(acceptedKeys()).toSorted()).toEqual(["constructor", "worker-1"]);
  bench.restart({ nodes: [{ name: "worker-1", generation: 2 }] });
  expect(acceptedKeys()).toEqual({});
  expect(told().slice(-2)).toEqual([
    "removed worker-1 another generation",
    "removed constructor not in the cluster layer",
  ]);
});

test("keys known beforehand and keys that Salt refused are told once, also after a restart", () => {
  bench.restart({ mode: "preseed" as "join" });
  for (let i = 0; i < 2; i += 1) {
    bench.hub.tell("accepted", { node: "worker-1", fingerprint: key.fingerprint, by: "layer" });
    bench.hub.tell("refused", { node: "mallory", fingerprint: other.fingerprint, reason: "Salt: unknown", by: "hub" });
    bench.restart({ mode: "preseed" as "join" });
  }
  expect(told()).toEqual(["accepted worker-1", "refused mallory Salt: unknown"]);
  expect(() => bench.command(openWindow)).toThrow(/known beforehand/);
});

test("a line that was cut off is taken away and told; a changed line stops everything", () => {
  bench.issue("worker-1");
  const file = join(bench.directory, "audit.jsonl");
  appendFileSync(file, '{"seq":2,"at":"2026');
  bench.restart();
  expect(told()).toEqual(["token worker-1 valid for 60 minutes", "recovered 19 bytes of a line that was cut off"]);
  writeFileSync(file, readFileSync(file, "utf8").replace("60 minutes", "61 minutes"));
  bench.restart();
  expect(bench.hub.list().audit.broken).toBe("line 2 does not follow the line before it");
  expect(() => bench.command(openWindow)).toThrow(/audit log is not whole: line 2/);
  expect(bench.hub.list().window).toBeUndefined();
});

test("what the disk does not take has not been decided", () => {
  const secret = bench.issue("worker-1");
  bench.command(openWindow);
  const file = join(bench.directory, "audit.jsonl");
  const text = readFileSync(file);
  rmSync(file);
  // A directory in its place: an append fails for root too.
  mkdirSync(file);
  expect(() => bench.hub.join("worker-1", requestText(secret, "worker-1", key))).toThrow(/EISDIR/);
  expect(bench.hub.control(JSON.stringify({ command: "close" }), "console")).toMatchObject({ ok: false });
  expect(existsSync(join(bench.directory, "keys", "worker-1"))).toBe(false);
  rmdirSync(file);
  writeFileSync(file, text);
  expect(bench.hub.join("worker-1", requestText(secret, "worker-1", key)).state).toBe("accepted");
});

test("property: whatever is sent, nothing but a valid request enrolls anybody, and the log stays whole", () => {
  const secret = bench.issue("worker-1");
  const good = JSON.parse(requestText(secret, "worker-1", key)) as Record<string, unknown>;
  const field = fc.constantFrom("token", "publicKey", "proof");
  const spoiled = fc.tuple(field, fc.jsonValue()).map(([name, value]) => JSON.stringify({ ...good, [name]: value }));
  const cut = fc.nat(JSON.stringify(good).length - 1).map((end) => JSON.stringify(good).slice(0, end));
  const more = fc.string({ minLength: 1 }).map((name) => JSON.stringify({ ...good, [`x${name}`]: 1 }));
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json(), spoiled, cut, more), (text) => {
      bench.command(openWindow);
      expect(["malformed", "wrong key"]).toContain(bench.hub.join("worker-1", text).refused);
      expect(bench.hub.control(text, "console").ok).toBe(false);
    }),
    { numRuns: 60 },
  );
  expect(acceptedKeys()).toEqual({});
  expect(audit().length).toBeGreaterThan(60);
  expect(bench.hub.join("worker-1", JSON.stringify(good)).state).toBe("accepted");
});

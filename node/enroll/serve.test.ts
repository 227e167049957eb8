import { rmSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ClusterLayer } from "../../shared/cluster-layer.ts";
import { exampleLayer } from "../../shared/render/testing.ts";
import { type Authorities, deriveAuthorities, issueLeaf, publicAuthorities } from "../../src/vault/pki.ts";
import { fixedVault } from "../../src/vault/testing.ts";
import { type Material, type MemberServer, serveMembers } from "../agent/members.ts";
import { askHub } from "./client.ts";
import { nextStep } from "./join.ts";
import { memberHandler, rateLimit } from "./serve.ts";
import { hubBench, type HubBench, requestText, rsaKey } from "./testing.ts";

// The endpoint and its client over real TLS on the loopback interface, with the cluster's own PKI.
let bench: HubBench;
let layer: ClusterLayer;
let own: Authorities;
let server: MemberServer;
const certificates = new Map<string, Material>();

beforeAll(async () => {
  bench = hubBench();
  own = await deriveAuthorities(fixedVault(), "example", 1);
  layer = { ...exampleLayer({ nodes: 3 }), pki: publicAuthorities(own) };
  for (const name of ["hub-1", "worker-1", "worker-2", "operator:operator-1"]) await issue(name, name, own, "agent");
  await issue("other purpose", "worker-1", own, "etcd");
  await issue("foreign", "worker-1", await deriveAuthorities(fixedVault(2), "example", 1), "agent", 2);
  const names = new Set(layer.nodes.map(({ name }) => name));
  const handler = memberHandler(
    bench.hub,
    rateLimit(() => bench.clock.now),
  );
  const listen = { address: "127.0.0.1", port: 0, maxConnections: 32 };
  server = await serveMembers(layer, names, listen, certificates.get("hub-1")!, handler);
});
afterAll(() => {
  server?.close();
  rmSync(bench.directory, { recursive: true });
});

async function issue(as: string, commonName: string, authorities: Authorities, purpose: "agent" | "etcd", vault = 1) {
  const leaf = await issueLeaf(fixedVault(vault), authorities, {
    purpose,
    owner: { cluster: "example", name: as, generation: 1 },
    commonName,
    names: { dns: ["localhost"], ip: ["127.0.0.1"] },
    issuedAt: new Date(),
    days: 1,
  });
  certificates.set(as, { cert: leaf.certificate, key: leaf.key });
}

const key = rsaKey("worker-1");

/** What the endpoint says to somebody, with any method, path and body: `<status> <body>`, or `refused`. */
function raw(who: string, method: string, path: string, body?: string): Promise<string> {
  bench.clock.now += 10_000; // not what the rate is about
  return new Promise((resolve) => {
    const material = certificates.get(who);
    const options = { ...material, ca: [layer.pki!.root, own.purposes.agent.certificate], agent: false, method, path };
    const request = httpsRequest({ ...options, host: "127.0.0.1", port: server.port }, (response) => {
      let text = "";
      response.on("data", (part: Buffer) => (text += part.toString()));
      response.on("end", () => resolve(`${response.statusCode} ${text.trim()}`));
    });
    request.on("error", () => resolve("refused"));
    request.end(body);
  });
}

test("a node enrolls over mutual TLS, and may ask how it stands at any time", async () => {
  const target = { hub: "hub-1", address: "127.0.0.1", port: server.port };
  const material = certificates.get("worker-1")!;
  const ask = (body?: string) =>
    askHub(layer, target, material, key.fingerprint, body === undefined ? undefined : (JSON.parse(body) as never));
  const sent = requestText(bench.issue("worker-1"), "worker-1", key);
  expect(await ask()).toEqual({ window: "closed", state: "none" });
  expect(await ask(sent)).toMatchObject({ refused: "closed" });
  bench.command({ command: "open", seconds: 3600, approval: false, tokens: [] });
  expect(await ask(sent)).toEqual({ window: "open", state: "accepted", fingerprint: key.fingerprint });
  expect(await ask(sent)).toMatchObject({ refused: "used token", state: "accepted" });
  expect(bench.hub.list().nodes.find(({ node }) => node === "worker-1")).toMatchObject({ shows: key.fingerprint });
  await expect(askHub(layer, { ...target, hub: "worker-2" }, material, key.fingerprint)).rejects.toThrow(
    "who answers is not worker-2",
  );
});

test("only nodes of the cluster get as far as a token", async () => {
  const body = requestText(Buffer.alloc(32, 5).toString("base64url"), "worker-1", key);
  const verdicts = ["none", "foreign", "other purpose", "operator:operator-1"].map((who) =>
    raw(who, "POST", "/enrollment", body),
  );
  expect(await Promise.all(verdicts)).toEqual([
    "refused",
    "refused",
    expect.stringMatching(/^403 .*not a member/),
    expect.stringMatching(/^403 .*not a member/),
  ]);
  // What counts is the certificate: worker-2 cannot speak for worker-1.
  const secret = bench.issue("worker-1");
  expect(await raw("worker-2", "POST", "/enrollment", requestText(secret, "worker-1", key))).toMatch(/403 .*wrong key/);
});

test("other paths, methods, too long bodies and too many requests are turned away", async () => {
  expect(await raw("worker-1", "GET", "/status")).toMatch(/^404/);
  expect(await raw("worker-1", "PUT", "/enrollment", "{}")).toMatch(/^405/);
  expect(await raw("worker-1", "POST", "/enrollment", `{"token":"${"x".repeat(100_000)}"}`)).toMatch(
    /^403 .*malformed/,
  );
  const limit = rateLimit(() => bench.clock.now);
  const answers = Array.from({ length: 30 }, () => limit("worker-1"));
  expect(answers.filter(Boolean)).toHaveLength(20);
  expect(limit("worker-2")).toBe(true);
  bench.clock.now += 10_000;
  expect(limit("worker-1")).toBe(true);
});

test.each([
  ["done", "is enrolled", { window: "closed", state: "accepted", fingerprint: "a" }, { there: true, spent: true }],
  ["wait", "needs a token", { window: "open", state: "accepted", fingerprint: "b" }, { there: false, spent: false }],
  ["ask", "asks", { window: "open", state: "accepted", fingerprint: "b" }, { there: true, spent: false }],
  ["wait", "approve", { window: "open", state: "waiting", fingerprint: "a" }, { there: true, spent: true }],
  ["wait", "denied", { window: "open", state: "denied", fingerprint: "a" }, { there: true, spent: true }],
  ["wait", "window", { window: "closed", state: "none" }, { there: true, spent: false }],
  ["wait", "needs a token", { window: "open", state: "none" }, { there: true, spent: true }],
  ["ask", "asks", { window: "open", state: "denied", fingerprint: "a" }, { there: true, spent: false }],
] as const)("a node's next step is to %s (%s)", (step, says, answer, token) => {
  expect(nextStep(answer, "a", token)).toEqual({ step, say: expect.stringContaining(says) as string });
});

import { createPublicKey, generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EnrollList, JoinRequest } from "../../shared/enroll.ts";
import { keyFingerprint } from "../agent/enrollment.ts";
import { enrollHub, type EnrollHub } from "./hub.ts";
import { hubToken, joinRequest, type OwnKey } from "./join.ts";
import { openEnrollStore, sha256, type EnrollStore } from "./store.ts";

/** The cluster of these tests. */
export const cluster = {
  mode: "join" as const,
  clusterId: "00112233445566778899aabbccddeeff",
  hub: "hub-1",
  nodes: ["hub-1", "worker-1", "constructor"].map((name) => ({ name, generation: 1 })),
};

/** A hub with a directory and a clock of its own. For tests. */
export interface HubBench {
  directory: string;
  hub: EnrollHub;
  store: EnrollStore;
  clock: { now: number };
  /** Lines for the journal. */
  journal: string[];
  /** What a restart of the service does. */
  restart(change?: Partial<typeof cluster>): void;
  /** An operator's command that has to be done. */
  command(command: object): EnrollList;
  /** Registers a token, and gives the secret. */
  issue(node: string, validSeconds?: number): string;
}

export function hubBench(): HubBench {
  const directory = mkdtempSync(join(tmpdir(), "kubedos-enroll-"));
  const bench = { directory, clock: { now: Date.parse("2026-01-01T00:00:00Z") }, journal: [] as string[] } as HubBench;
  bench.restart = (change = {}) => {
    bench.store = openEnrollStore(
      directory,
      () => bench.clock.now,
      (line) => bench.journal.push(line),
    );
    bench.hub = enrollHub({ ...cluster, ...change }, bench.store, () => bench.clock.now);
  };
  bench.command = (command) => {
    const reply = bench.hub.control(JSON.stringify(command), "operator alice");
    if (!reply.ok) throw new Error(reply.error);
    return reply.data;
  };
  bench.issue = (node, validSeconds = 3600) => {
    const secret = randomBytes(32).toString("base64url");
    const hash = sha256(hubToken(secret, { cluster: "example", hub: cluster.hub, node }));
    bench.command({ command: "tokens", tokens: [{ node, hash, validSeconds }] });
    return secret;
  };
  bench.restart();
  return bench;
}

const keys = new Map<string, OwnKey>();

/** The same RSA key for the same name, made once. */
export function rsaKey(name: string, modulusLength = 2048): OwnKey {
  const known = keys.get(name);
  if (known !== undefined) return known;
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength });
  const publicKey = createPublicKey(privateKey).export({ format: "pem", type: "spki" }) as string;
  const made = { privateKey, publicKey, fingerprint: keyFingerprint(publicKey) };
  keys.set(name, made);
  return made;
}

/** What a node sends, as text. */
export function requestText(secret: string, node: string, key: OwnKey, change: Partial<JoinRequest> = {}): string {
  const to = { cluster: "example", clusterId: cluster.clusterId, hub: cluster.hub, node };
  return JSON.stringify({ ...joinRequest(secret, key, to), ...change });
}

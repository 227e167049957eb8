import { createHash } from "node:crypto";
import { appendFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { EnrollmentFacts } from "../../shared/agent-api.ts";
import { type EnrollList, enrollPaths } from "../../shared/enroll.ts";
import { KubedosError } from "../../shared/error.ts";
import type { Emit, RefusalReason } from "../../shared/events.ts";
import { isHub } from "../../shared/render/peers.ts";
import { saltPaths } from "../../shared/salt.ts";
import { exec } from "./exec.ts";
import type { Identity } from "./identity.ts";
import type { NodePaths } from "./paths.ts";
import { readText, sleep } from "./text.ts";

/** Where kubedos-salt-ping.service writes which minions answer. */
const pingFile = "/run/kubedos/salt/ping.json";
const pingUnit = "kubedos-salt-ping.service";
const pingTimeoutMs = 60_000;
const watchMs = 2_000;

/** Directories of Salt's master in which the keys are that it did not take. */
const refusals: readonly (readonly [directory: string, reason: RefusalReason])[] = [
  ["minions_rejected", "unknown"],
  ["minions_denied", "another key"],
  ["minions_pre", "waiting"],
];

/** Whether this node runs a Salt master. */
export function isSaltMaster({ layer, node }: Identity): boolean {
  return layer.salt !== undefined && layer.features.includes("salt") && isHub(node);
}

/**
 * Whose keys this hub knows and who answers now.
 *
 * @throws KubedosError on a node without a Salt master, or when the master cannot be asked
 */
export async function enrollmentFacts(paths: NodePaths, identity: Identity): Promise<EnrollmentFacts> {
  if (!isSaltMaster(identity)) throw new KubedosError("failed", `${identity.node.name} has no Salt master`);
  const { status, stderr } = await exec("systemctl", ["start", pingUnit], { timeoutMs: pingTimeoutMs });
  if (status !== 0) throw new KubedosError("failed", `the Salt master cannot be asked: ${stderr.trim()}`);
  return {
    accepted: keys(paths, "minions"),
    waiting: keys(paths, "minions_pre"),
    rejected: keys(paths, "minions_rejected"),
    denied: keys(paths, "minions_denied"),
    answering: parsePing(readText(paths.at(pingFile)) ?? ""),
    enrollment: readSummary(paths),
  };
}

function readSummary(paths: NodePaths): EnrollList | undefined {
  try {
    return JSON.parse(readText(paths.at(enrollPaths.summary)) ?? "") as EnrollList;
  } catch {
    return undefined;
  }
}

/** `salt --static --out=json '*' test.ping`: `{"core-1": true, "worker-1": false}`. @throws when it is nothing like it */
export function parsePing(text: string): string[] {
  let value: unknown;
  try {
    value = text === "" ? {} : JSON.parse(text);
  } catch {
    throw new KubedosError("failed", `Salt answered: ${text.slice(0, 200)}`);
  }
  if (value === null || typeof value !== "object") return [];
  return Object.entries(value).flatMap(([name, answer]) => (answer === true ? [name] : []));
}

/** Says of every key that the master did not take, once, whose it claims to be; also to the audit log. Does not end. */
export async function watchRefusals(paths: NodePaths, { node }: Identity, emit: Emit): Promise<void> {
  const said = new Set<string>();
  for (;;) {
    for (const [directory, reason] of refusals) {
      for (const name of keys(paths, directory)) {
        const text = readText(paths.at(join(saltPaths.masterPki, directory, name))) ?? "";
        if (text === "") continue; // it is being written
        const fingerprint = keyFingerprint(text);
        const key = `${directory}/${name}/${fingerprint}`;
        if (said.has(key)) continue;
        said.add(key);
        // The name is a stranger's choice.
        const shown = name.replaceAll(/[^\x21-\x7e]/g, "?").slice(0, 128);
        emit({ type: "enroll.refused", node: node.name, name: shown, reason, fingerprint });
        // For kubedos-enroll.service, which may not look into the master's directory.
        const line = JSON.stringify({ name: shown, reason, fingerprint });
        appendFileSync(paths.at(enrollPaths.refused), `${line}\n`, { mode: 0o644 });
      }
    }
    await sleep(watchMs);
  }
}

/** As `salt-key -F` shows it: sha256 of the key's text. */
export function keyFingerprint(pem: string): string {
  return createHash("sha256").update(pem.trim()).digest("hex").match(/../g)!.join(":");
}

function keys(paths: NodePaths, directory: string): string[] {
  try {
    return readdirSync(paths.at(join(saltPaths.masterPki, directory)))
      .filter((name) => !name.startsWith("."))
      .toSorted();
  } catch {
    return [];
  }
}

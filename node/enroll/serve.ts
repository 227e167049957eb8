import { mkdirSync, readFileSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { enrollLimits, enrollPaths, enrollPort, keyHeader } from "../../shared/enroll.ts";
import { KubedosError } from "../../shared/error.ts";
import type { RefusalReason } from "../../shared/events.ts";
import { controlPlane, isHub, planeAddress } from "../../shared/render/peers.ts";
import { keyFingerprint } from "../agent/enrollment.ts";
import { followLines } from "../agent/follow.ts";
import { readIdentity, type Identity } from "../agent/identity.ts";
import { type MemberRequest, type Material, serveMembers } from "../agent/members.ts";
import type { NodePaths } from "../agent/paths.ts";
import { messageOf, readText, sleep } from "../agent/text.ts";
import { serveControl } from "./control.ts";
import { type EnrollCluster, enrollHub, type EnrollHub } from "./hub.ts";
import { openEnrollStore, touchKeys } from "./store.ts";

const everyMs = 1_000;
const maxConnections = 256;
/** Requests of one node in `rateMs`; more are turned away unread. */
const mostRequests = 20;
const rateMs = 10_000;
/** Salt's side may be looking just now: it is told again a little later. */
const touchAfterMs = [1_000, 5_000];

/** The enrollment of a hub: what kubedos-enroll.service does. Does not end. */
export async function serveEnrollment(paths: NodePaths, environment: NodeJS.ProcessEnv): Promise<void> {
  const identity = readIdentity(paths, environment);
  const { layer, node } = identity;
  if (layer.salt === undefined || !isHub(node)) throw new KubedosError("failed", `${node.name} enrolls nobody`);
  const mode = layer.salt.enrollment ?? "preseed";
  const directory = paths.at(enrollPaths.state);
  const store = openEnrollStore(directory, Date.now, (line) => writeSync(1, `${line}\n`));
  const cluster: EnrollCluster = { mode, clusterId: layer.clusterId, hub: node.name, nodes: layer.nodes };
  const hub = enrollHub(cluster, store, Date.now);
  await serveControl(paths.at(enrollPaths.control), (text, by) => hub.control(text, by), layer.operators);
  if (mode === "join") {
    const names = new Set(layer.nodes.map(({ name }) => name));
    const address = planeAddress(controlPlane(layer), node);
    const material = readMaterial(environment);
    const listen = { address, port: enrollPort, maxConnections };
    await serveMembers(layer, names, listen, material, memberHandler(hub, rateLimit(Date.now)));
  } else tellOfKnownKeys(hub, identity);

  const refused = followLines(paths.at(enrollPaths.refused), (line) => tellOfRefusal(hub, line));
  let accepted: unknown;
  for (;;) {
    try {
      hub.tick();
      refused.poll();
      writeSummary(paths.at(enrollPaths.summary), hub);
    } catch (error) {
      writeSync(2, `kubedos: ${messageOf(error)}\n`); // a full disk: the next round may find room
    }
    if (accepted !== store.state().accepted) {
      accepted = store.state().accepted;
      for (const ms of touchAfterMs) setTimeout(() => touchKeys(directory, Date.now()), ms);
    }
    await sleep(everyMs);
  }
}

/** `GET` and `POST /enrollment` of members. */
export function memberHandler(hub: EnrollHub, mayAsk: (node: string) => boolean): (member: MemberRequest) => void {
  return ({ member, request, answer }) => {
    const turnedAway = (code: number, error: string) => {
      request.resume();
      answer(code, { error });
    };
    if (!mayAsk(member)) return turnedAway(429, "too many requests");
    if (request.url !== "/enrollment") return turnedAway(404, "there is only /enrollment");
    try {
      if (request.method === "GET") {
        request.resume();
        return answer(200, hub.status(member, request.headers[keyHeader]));
      }
      if (request.method !== "POST") return turnedAway(405, "only GET and POST");
      const stopped = hub.admit(member);
      if (stopped !== undefined) {
        request.resume();
        return answer(403, stopped);
      }
    } catch (error) {
      return turnedAway(500, messageOf(error));
    }
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (text: string) => {
      if (body.length <= enrollLimits.bodyBytes) body += text;
    });
    request.on("end", () => {
      try {
        const result = hub.join(member, body.length > enrollLimits.bodyBytes ? "" : body);
        answer(result.refused === undefined ? (result.state === "accepted" ? 200 : 202) : 403, result);
      } catch (error) {
        answer(500, { error: messageOf(error) });
      }
    });
  };
}

/** At most so many requests of one node in a time. */
export function rateLimit(now: () => number): (node: string) => boolean {
  const seen = new Map<string, { since: number; count: number }>();
  return (node) => {
    const entry = seen.get(node);
    if (entry === undefined || now() - entry.since >= rateMs || now() < entry.since) {
      seen.set(node, { since: now(), count: 1 });
      return true;
    }
    entry.count += 1;
    return entry.count <= mostRequests;
  };
}

function tellOfKnownKeys(hub: EnrollHub, { layer }: Identity): void {
  for (const { name, saltKey } of layer.nodes) {
    if (saltKey === undefined) continue;
    hub.tell("accepted", { node: name, fingerprint: keyFingerprint(saltKey), by: "layer" });
  }
}

/** A line that the agent has written: a key that Salt's master did not take. */
function tellOfRefusal(hub: EnrollHub, line: string): void {
  const { name, reason, fingerprint } = JSON.parse(line) as {
    name: string;
    reason: RefusalReason;
    fingerprint: string;
  };
  hub.tell("refused", { node: name, fingerprint, reason: `Salt: ${reason}`, by: "hub" });
}

function writeSummary(file: string, hub: EnrollHub): void {
  const text = `${JSON.stringify(hub.list())}\n`;
  if (readText(file) === text.trim()) return;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, text, { mode: 0o644 });
  renameSync(`${file}.new`, file);
}

/** systemd.exec(5), "Credentials": this service's user cannot read the agent's files. */
function readMaterial(environment: NodeJS.ProcessEnv): Material {
  const directory = environment["CREDENTIALS_DIRECTORY"];
  if (directory === undefined) throw new KubedosError("failed", "no certificate was handed to this service");
  const read = (name: string) => readFileSync(join(directory, name), "utf8");
  return { cert: read("agent.crt"), key: read("agent.key") };
}

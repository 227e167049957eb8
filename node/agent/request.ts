import type { AgentRequest, ScanTarget } from "../../shared/agent-api.ts";

export type ParsedRequest = { ok: true; request: AgentRequest } | { ok: false; id: string; error: string };

const longestId = 200;
const mostTargets = 20_000;
const longestTimeoutMs = 60_000;
const mostPings = 100;
const longestCutSeconds = 900;

/** One line of the control port as a request. Never throws: whatever is wrong comes back as `error`. */
export function parseRequest(line: string): ParsedRequest {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return refused("", "not a JSON document");
  }
  if (!isRecord(value)) return refused("", "not an object");
  const { id } = value;
  if (typeof id !== "string" || id.length === 0 || id.length > longestId) {
    return refused("", `id must be a string of 1 to ${longestId} characters`);
  }
  switch (value["command"]) {
    case "enrollment":
    case "facts":
    case "listening":
    case "poweroff":
      return { ok: true, request: { id, command: value["command"] } };
    case "fabric": {
      const { count } = value;
      if (!isWhole(count, 1, mostPings)) return refused(id, `count must be a whole number from 1 to ${mostPings}`);
      return { ok: true, request: { id, command: "fabric", count } };
    }
    case "scan":
      return parseScan(id, value);
    case "isolate": {
      const { plane, seconds } = value;
      if (typeof plane !== "string" || !/^[a-z][a-z0-9-]{0,14}$/.test(plane))
        return refused(id, "plane must be a name");
      if (!isWhole(seconds, 1, longestCutSeconds)) {
        return refused(id, `seconds must be a whole number from 1 to ${longestCutSeconds}`);
      }
      return { ok: true, request: { id, command: "isolate", plane, seconds } };
    }
    case "outage":
      return parseOutage(id, value);
    default:
      return refused(
        id,
        "unknown command; there are enrollment, facts, fabric, listening, scan, isolate, outage, poweroff",
      );
  }
}

function parseScan(id: string, value: Record<string, unknown>): ParsedRequest {
  const { targets, timeoutMs } = value;
  if (!isWhole(timeoutMs, 1, longestTimeoutMs)) {
    return refused(id, `timeoutMs must be a whole number from 1 to ${longestTimeoutMs}`);
  }
  if (!Array.isArray(targets) || targets.length > mostTargets) {
    return refused(id, `targets must be a list of at most ${mostTargets}`);
  }
  const wrong = targets.findIndex((target) => !isTarget(target));
  if (wrong >= 0) return refused(id, `targets[${wrong}] must have protocol tcp or udp, an IPv4 address and a port`);
  const checked = (targets as ScanTarget[]).map(({ protocol, address, port }) => ({ protocol, address, port }));
  return { ok: true, request: { id, command: "scan", timeoutMs, targets: checked } };
}

function parseOutage(id: string, value: Record<string, unknown>): ParsedRequest {
  const { target, durationMs, everyMs } = value;
  if (!isTarget(target)) return refused(id, "target must have protocol tcp or udp, an IPv4 address and a port");
  if (!isWhole(durationMs, 1, longestTimeoutMs)) {
    return refused(id, `durationMs must be a whole number from 1 to ${longestTimeoutMs}`);
  }
  if (!isWhole(everyMs, 10, 10_000)) return refused(id, "everyMs must be a whole number from 10 to 10000");
  const { protocol, address, port } = target;
  return { ok: true, request: { id, command: "outage", target: { protocol, address, port }, durationMs, everyMs } };
}

function isTarget(value: unknown): value is ScanTarget {
  if (!isRecord(value)) return false;
  const { protocol, address, port } = value;
  return (protocol === "tcp" || protocol === "udp") && isIpv4(address) && isWhole(port, 1, 65_535);
}

function isIpv4(value: unknown): boolean {
  const part = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
  return typeof value === "string" && new RegExp(`^${part}(\\.${part}){3}$`).test(value);
}

function isWhole(value: unknown, least: number, most: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= least && value <= most;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function refused(id: string, error: string): ParsedRequest {
  return { ok: false, id, error };
}

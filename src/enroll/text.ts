import { formatTable } from "../../shared/table.ts";
import type { AuditLine, EnrollList, EnrollNode } from "../../shared/enroll.ts";

/** How enrollment stands on each hub, for people. */
export function listText(lists: readonly EnrollList[]): string {
  return lists
    .map((list) => {
      const rows = list.nodes.map((node) => [
        node.node,
        stateText(list, node),
        node.token,
        String(node.refused),
        node.fingerprint ?? node.shows ?? "-",
      ]);
      return [
        `${list.hub}: ${windowText(list)}`,
        ...(list.mode === "join" ? [formatTable(["NODE", "STATE", "TOKEN", "REFUSED", "KEY (sha256)"], rows)] : []),
        `audit log: ${list.audit.lines} lines${list.audit.broken === undefined ? "" : `, NOT WHOLE: ${list.audit.broken}`}`,
      ].join("\n");
    })
    .join("\n\n");
}

/** One line of the audit log, for people. */
export function auditText({ at, event, node, by, reason, fingerprint }: AuditLine): string {
  return [
    at.slice(0, 19).replace("T", " "),
    event.padEnd(9),
    ...(node === undefined ? [] : [node]),
    ...(reason === undefined ? [] : [`(${reason})`]),
    ...(by === undefined ? [] : [`by ${by}`]),
    ...(fingerprint === undefined ? [] : [`sha256 ${fingerprint}`]),
  ].join(" ");
}

function windowText({ mode, window }: EnrollList): string {
  if (mode === "preseed") return "the keys of all nodes are known beforehand (platform.salt.enrollment: preseed)";
  if (window === undefined) return "no enrollment window is open";
  const how = window.approval ? "each request is approved" : "a token is enough";
  return `window open until ${window.closesAt.slice(0, 19).replace("T", " ")} UTC, by ${window.by}; ${how}`;
}

function stateText({ mode }: EnrollList, { state, fingerprint, replaces, shows }: EnrollNode): string {
  if (state === "waiting") return replaces === undefined ? "waits for approval" : "waits for approval (another key)";
  if (state === "accepted" && mode === "join" && shows !== undefined && shows !== fingerprint) {
    return "accepted, but has another key now";
  }
  return state === "none" ? "not enrolled" : state;
}

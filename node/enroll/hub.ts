import {
  type EnrollCommand,
  enrollLimits,
  type EnrollList,
  type EnrollmentMode,
  type EnrollReply,
  type JoinAnswer,
  type JoinRefusal,
  type TokenRecord,
} from "../../shared/enroll.ts";
import { KubedosError } from "../../shared/error.ts";
import { messageOf } from "../agent/text.ts";
import { checkRequest } from "./check.ts";
import {
  approve,
  barrier,
  close,
  deny,
  keepNodes,
  open,
  pass,
  refuse,
  registerTokens,
  request,
  type Step,
} from "./state.ts";
import { answer, list } from "./view.ts";
import type { EnrollStore } from "./store.ts";

/** What a hub enrolls for. */
export interface EnrollCluster {
  mode: EnrollmentMode;
  clusterId: string;
  hub: string;
  nodes: readonly { name: string; generation: number }[];
}

/** Decides about nodes' requests and does what operators ask for; every step is written down before it counts. */
export interface EnrollHub {
  /** How a node's own request stands. `shows`: fingerprint of the key that it has. */
  status(node: string, shows?: unknown): JoinAnswer;
  /** What stands in the way of a request before it is read. */
  admit(node: string): JoinAnswer | undefined;
  /** Takes a request of a node whose certificate has been checked. */
  join(node: string, body: string): JoinAnswer;
  /** Does what an operator asks for. Never throws. */
  control(text: string, by: string): EnrollReply;
  /** What time has brought. */
  tick(): void;
  /** Tells the audit log once of something that was decided elsewhere. */
  tell(kind: "accepted" | "refused", about: { node: string; fingerprint: string; reason?: string; by: string }): void;
  list(): EnrollList;
}

/** Knocking at a closed window is told once in this time, so that nobody fills the log. */
const quietMs = 10 * 60_000;
const mostTold = 2_000;
const fingerprintPattern = /^[0-9a-f]{2}(:[0-9a-f]{2}){31}$/;
const mostTokens = 10_000;

export function enrollHub(cluster: EnrollCluster, store: EnrollStore, now: () => number): EnrollHub {
  const { hub, mode, nodes } = cluster;
  const names = nodes.map(({ name }) => name);
  const knocked = new Map<string, number>();
  const shown = new Map<string, string>();
  store.take(mode === "join" ? keepNodes(store.state(), nodes) : keepNodes(store.state(), []));

  function tick(): void {
    store.take(pass(store.state(), now()));
  }
  /** What does not count as a try is told rarely. */
  function turnAway(node: string, refused: JoinRefusal): JoinAnswer {
    const key = `${node} ${refused}`;
    const told = knocked.get(key);
    const step = refuse(store.state(), node, refused, now());
    if (told !== undefined && now() - told < quietMs) return step.result;
    knocked.set(key, now());
    return store.take(step);
  }
  function admit(node: string): JoinAnswer | undefined {
    tick();
    const blocked = barrier(store.state(), node, now());
    return blocked === undefined ? undefined : turnAway(node, blocked);
  }
  function entireList(): EnrollList {
    const { window, nodes: all } = list(store.state(), names, now());
    const withShown = all.map((one) => {
      const shows = shown.get(one.node);
      return shows === undefined ? one : { ...one, shows };
    });
    return { hub, mode, ...(window !== undefined && { window }), nodes: withShown, audit: store.audit() };
  }
  function obey(command: EnrollCommand, by: string): void {
    if (mode !== "join" && command.command !== "list") {
      throw new KubedosError("failed", "the keys of this cluster are known beforehand: nobody joins", {
        hint: "`platform: { salt: { enrollment: join } }` in the spec lets nodes make their own",
      });
    }
    const at = now();
    switch (command.command) {
      case "open":
        return store.take(open(store.state(), command, by, at));
      case "tokens":
        return store.take(registerTokens(store.state(), command.tokens, by, at));
      case "close":
        return store.take(close(store.state(), by));
      case "list":
        return;
      case "approve":
      case "deny": {
        const { node, fingerprint } = command;
        const generation = nodes.find(({ name }) => name === node)?.generation;
        if (generation === undefined) throw new KubedosError("failed", `the cluster has no node ${node}`);
        const step: Step<string | undefined> =
          command.command === "approve"
            ? approve(store.state(), node, fingerprint, generation, by, at)
            : deny(store.state(), node, fingerprint, by, at);
        const problem = store.take(step);
        if (problem !== undefined) throw new KubedosError("failed", problem, { hint: "kubedos enroll list" });
      }
    }
  }
  return {
    admit,
    tick,
    list: entireList,
    status(node, shows) {
      if (typeof shows === "string" && fingerprintPattern.test(shows)) shown.set(node, shows);
      return answer(store.state(), node, now());
    },
    join(node, body) {
      const stopped = admit(node);
      if (stopped !== undefined) return stopped;
      const asked = checkRequest(body, { clusterId: cluster.clusterId, hub, node });
      if (typeof asked === "string") return store.take(refuse(store.state(), node, asked, now()));
      const generation = nodes.find(({ name }) => name === node)!.generation;
      return store.take(request(store.state(), asked, generation, now()));
    },
    control(text, by) {
      try {
        tick();
        obey(parseCommand(text, names), by);
        return { ok: true, data: entireList() };
      } catch (error) {
        const hint = error instanceof KubedosError ? error.hint : undefined;
        return { ok: false, error: messageOf(error), ...(hint !== undefined && { hint }) };
      }
    },
    tell(kind, { node, fingerprint, reason, by }) {
      const state = store.state();
      const key = [kind, node, fingerprint].join(" ");
      if (state.told.includes(key) || state.told.length >= mostTold) return;
      const entry = { event: kind, node, by, fingerprint, ...(reason !== undefined && { reason }) };
      store.take({ state: { ...state, told: [...state.told, key] }, audit: [entry], result: undefined });
    },
  };
}

/** @throws KubedosError when it is no command */
function parseCommand(text: string, names: readonly string[]): EnrollCommand {
  const value = parseJson(text) as Partial<Record<string, unknown>> | null;
  const bad = (what: string) => new KubedosError("failed", `not an enrollment command: ${what}`);
  if (value === null || typeof value !== "object") throw bad("no object");
  const { command, seconds, approval, tokens = [], node, fingerprint } = value;
  switch (command) {
    case "close":
    case "list":
      return { command };
    case "tokens":
      return { command, tokens: parseTokens(tokens, names) };
    case "open":
      if (!isWhole(seconds, enrollLimits.windowMinutes * 60)) throw bad("seconds");
      if (typeof approval !== "boolean") throw bad("approval");
      return { command, seconds, approval, tokens: parseTokens(tokens, names) };
    case "approve":
    case "deny":
      if (typeof node !== "string") throw bad("node");
      if (fingerprint !== undefined && typeof fingerprint !== "string") throw bad("fingerprint");
      return { command, node, ...(fingerprint !== undefined && { fingerprint }) };
    default:
      throw bad("there are open, tokens, close, list, approve, deny");
  }
}

function parseTokens(value: unknown, names: readonly string[]): TokenRecord[] {
  const problem = () => new KubedosError("failed", "not an enrollment command: tokens");
  if (!Array.isArray(value) || value.length > mostTokens) throw problem();
  return value.map((one: Partial<TokenRecord> | null) => {
    const { node, hash, validSeconds } = one ?? {};
    if (typeof node !== "string" || !names.includes(node)) throw problem();
    if (typeof hash !== "string" || !/^[0-9a-f]{64}$/.test(hash)) throw problem();
    if (!isWhole(validSeconds, enrollLimits.tokenMinutes * 60)) throw problem();
    return { node, hash, validSeconds };
  });
}

function isWhole(value: unknown, most: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= most;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new KubedosError("failed", "not an enrollment command: not JSON");
  }
}

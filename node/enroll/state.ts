import type { AuditEntry, JoinAnswer, JoinRefusal, TokenRecord } from "../../shared/enroll.ts";
import { enrollLimits } from "../../shared/enroll.ts";
import { answer, own, windowIsOpen } from "./view.ts";

/** What a hub keeps about enrollment. Times in milliseconds since 1970, by the hub's clock. */
export interface EnrollState {
  format: 1;
  window?: { openedAt: number; closesAt: number; by: string; approval: boolean };
  /** By sha256. A token is kept for a while after its end, so that it can be said why it is refused. */
  tokens: Record<string, { node: string; expiresAt: number; used: boolean }>;
  waiting: Record<string, KeyRecord>;
  accepted: Record<string, KeyRecord & { generation: number }>;
  denied: Record<string, { fingerprint: string; since: number }>;
  /** Refused requests in this window. */
  tries: Record<string, number>;
  /** Keys known beforehand, and keys that Salt refused, that the audit log has told of. */
  told: string[];
}

export interface KeyRecord {
  fingerprint: string;
  publicKey: string;
  since: number;
}

/** A request whose form and proof have been looked at. */
export interface CheckedRequest {
  node: string;
  hash: string;
  publicKey: string;
  fingerprint: string;
}

/** What one step changes: the state after it, and what the audit log is told. */
export interface Step<T = undefined> {
  state: EnrollState;
  audit: AuditEntry[];
  result: T;
}

const keptAfterEndMs = 7 * 24 * 3600 * 1000;

export function emptyState(): EnrollState {
  return { format: 1, tokens: {}, waiting: {}, accepted: {}, denied: {}, tries: {}, told: [] };
}

/** What time brings: a window that is over takes the requests along that nobody has decided; old tokens are forgotten. */
export function pass(state: EnrollState, now: number): Step {
  const all = Object.entries(state.tokens);
  const recent = all.filter(([, { expiresAt }]) => now < expiresAt + keptAfterEndMs);
  const kept = recent.length === all.length ? state : { ...state, tokens: Object.fromEntries(recent) };
  if (kept.window === undefined || windowIsOpen(kept, now)) return { state: kept, audit: [], result: undefined };
  return endWindow(kept, { event: "expired", by: "hub", reason: "window" });
}

/** Opens the window, or opens it anew: then its time begins again, and nobody is locked. */
export function open(
  state: EnrollState,
  options: { seconds: number; approval: boolean; tokens: readonly TokenRecord[] },
  by: string,
  now: number,
): Step {
  const registered = registerTokens(state, options.tokens, by, now);
  const window = { openedAt: now, closesAt: now + options.seconds * 1000, by, approval: options.approval };
  const how = options.approval ? "each request is approved" : "a token is enough";
  return {
    state: { ...registered.state, window, tries: {} },
    audit: [...registered.audit, { event: "opened", by, reason: `${Math.ceil(options.seconds / 60)} minutes, ${how}` }],
    result: undefined,
  };
}

export function close(state: EnrollState, by: string): Step {
  if (state.window === undefined) return { state, audit: [], result: undefined };
  return endWindow(state, { event: "closed", by });
}

/** Tokens that are not known yet; a used one stays used. A new token takes the place of the node's unused ones. */
export function registerTokens(state: EnrollState, records: readonly TokenRecord[], by: string, now: number): Step {
  const tokens = { ...state.tokens };
  const tries = { ...state.tries };
  const denied = { ...state.denied };
  const audit: AuditEntry[] = [];
  for (const { node, hash, validSeconds } of records) {
    if (tokens[hash] !== undefined) continue;
    for (const [other, token] of Object.entries(tokens)) {
      if (token.node === node && !token.used) tokens[other] = { ...token, used: true };
    }
    tokens[hash] = { node, expiresAt: now + validSeconds * 1000, used: false };
    delete tries[node];
    delete denied[node];
    audit.push({ event: "token", node, by, reason: `valid for ${Math.ceil(validSeconds / 60)} minutes` });
  }
  return { state: { ...state, tokens, tries, denied }, audit, result: undefined };
}

/**
 * A node shows a token for its key. The token is used up by this, whatever is decided; one that another node shows has
 * leaked, and is void.
 */
export function request(state: EnrollState, asked: CheckedRequest, generation: number, now: number): Step<JoinAnswer> {
  const { node, hash, publicKey, fingerprint } = asked;
  const token = state.tokens[hash];
  const refusal = refusalOf(state, asked, now);
  if (refusal !== undefined) {
    const spent =
      refusal === "token of another node" && token !== undefined ? { [hash]: { ...token, used: true } } : {};
    return refuse({ ...state, tokens: { ...state.tokens, ...spent } }, node, refusal, now, fingerprint);
  }
  const tokens = { ...state.tokens, [hash]: { ...token!, used: true } };
  const key: KeyRecord = { fingerprint, publicKey, since: now };
  const asks: AuditEntry = { event: "requested", node, fingerprint };
  const fresh = { ...state, tokens, denied: without(state.denied, node) };
  if (state.window!.approval) {
    const next = { ...fresh, waiting: { ...state.waiting, [node]: key } };
    return { state: next, audit: [asks], result: answer(next, node, now) };
  }
  const { state: next, audit } = accept(fresh, node, key, generation, "token");
  return { state: next, audit: [asks, ...audit], result: answer(next, node, now) };
}

/** A request that is refused, counted against its node. Knocking at a closed window does not count. */
export function refuse(
  state: EnrollState,
  node: string,
  refused: JoinRefusal,
  now: number,
  fingerprint?: string,
): Step<JoinAnswer> {
  const counts = refused !== "closed" && refused !== "locked";
  const next = counts ? { ...state, tries: { ...state.tries, [node]: (own(state.tries, node) ?? 0) + 1 } } : state;
  return {
    state: next,
    audit: [{ event: "refused", node, reason: refused, ...(fingerprint !== undefined && { fingerprint }) }],
    result: { ...answer(next, node, now), refused },
  };
}

/** What stands in the way before a request is even read. */
export function barrier(state: EnrollState, node: string, now: number): "closed" | "locked" | undefined {
  if (!windowIsOpen(state, now)) return "closed";
  return (own(state.tries, node) ?? 0) >= enrollLimits.tries ? "locked" : undefined;
}

/** @returns why not; undefined: done */
export function approve(
  state: EnrollState,
  node: string,
  fingerprint: string | undefined,
  generation: number,
  by: string,
  now: number,
): Step<string | undefined> {
  const key = own(state.waiting, node);
  const problem = decisionProblem(key, node, fingerprint);
  if (key === undefined || problem !== undefined) return { state, audit: [], result: problem };
  const { state: next, audit } = accept(state, node, { ...key, since: now }, generation, by);
  return {
    state: next,
    audit: [{ event: "approved", node, by, fingerprint: key.fingerprint }, ...audit],
    result: undefined,
  };
}

/** @returns why not; undefined: done */
export function deny(
  state: EnrollState,
  node: string,
  fingerprint: string | undefined,
  by: string,
  now: number,
): Step<string | undefined> {
  const key = own(state.waiting, node);
  const problem = decisionProblem(key, node, fingerprint);
  if (key === undefined || problem !== undefined) return { state, audit: [], result: problem };
  return {
    state: {
      ...state,
      waiting: without(state.waiting, node),
      denied: { ...state.denied, [node]: { fingerprint: key.fingerprint, since: now } },
    },
    audit: [{ event: "denied", node, by, fingerprint: key.fingerprint }],
    result: undefined,
  };
}

/** Keys of nodes that the cluster layer does not name any more, or names with another generation, are given up. */
export function keepNodes(state: EnrollState, nodes: readonly { name: string; generation: number }[]): Step {
  const gone = Object.entries(state.accepted).filter(
    ([name, key]) => nodes.find((node) => node.name === name)?.generation !== key.generation,
  );
  const names = new Set(gone.map(([name]) => name));
  return {
    state: {
      ...state,
      accepted: Object.fromEntries(Object.entries(state.accepted).filter(([name]) => !names.has(name))),
    },
    audit: gone.map(([node, { fingerprint }]) => ({
      event: "removed",
      node,
      by: "layer",
      reason: nodes.some(({ name }) => name === node) ? "another generation" : "not in the cluster layer",
      fingerprint,
    })),
    result: undefined,
  };
}

function refusalOf(
  state: EnrollState,
  { node, hash, fingerprint }: CheckedRequest,
  now: number,
): JoinRefusal | undefined {
  const blocked = barrier(state, node, now);
  if (blocked !== undefined) return blocked;
  const token = state.tokens[hash];
  if (token === undefined) return "unknown token";
  if (token.node !== node) return "token of another node";
  if (token.used) return "used token";
  if (now >= token.expiresAt) return "expired token";
  const keys = [...Object.entries(state.accepted), ...Object.entries(state.waiting)];
  return keys.some(([other, key]) => other !== node && key.fingerprint === fingerprint)
    ? "key of another node"
    : undefined;
}

function accept(state: EnrollState, node: string, key: KeyRecord, generation: number, by: string): Step {
  const before = own(state.accepted, node)?.fingerprint;
  const replaced = before !== undefined && before !== key.fingerprint;
  return {
    state: {
      ...state,
      waiting: without(state.waiting, node),
      accepted: { ...state.accepted, [node]: { ...key, generation } },
    },
    audit: [
      ...(replaced
        ? [
            {
              event: "removed",
              node,
              by,
              reason: "another key of the node takes its place",
              fingerprint: before,
            } as const,
          ]
        : []),
      { event: "accepted", node, by, fingerprint: key.fingerprint },
    ],
    result: undefined,
  };
}

function endWindow(state: EnrollState, ended: AuditEntry): Step {
  const undecided = Object.entries(state.waiting).map(([node, { fingerprint }]): AuditEntry => ({
    event: "expired",
    node,
    by: "hub",
    reason: "nobody has decided",
    fingerprint,
  }));
  const { window: _over, ...rest } = state;
  return { state: { ...rest, waiting: {}, tries: {} }, audit: [...undecided, ended], result: undefined };
}

function decisionProblem(
  key: KeyRecord | undefined,
  node: string,
  fingerprint: string | undefined,
): string | undefined {
  if (key === undefined) return `no request of ${node} waits`;
  if (fingerprint === undefined || fingerprint === key.fingerprint) return undefined;
  return `the key of ${node} that waits is ${key.fingerprint}, not ${fingerprint}`;
}

function without<T>(record: Record<string, T>, name: string): Record<string, T> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => key !== name));
}

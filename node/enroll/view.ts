import type { EnrollList, EnrollNode, JoinAnswer } from "../../shared/enroll.ts";
import type { EnrollState } from "./state.ts";

/** A clock that went back closes the window: nobody can say how long it has been open. */
export function windowIsOpen({ window }: EnrollState, now: number): boolean {
  return window !== undefined && window.openedAt <= now && now < window.closesAt;
}

/** How the node's own request stands. */
export function answer(state: EnrollState, node: string, now: number): JoinAnswer {
  const window = windowIsOpen(state, now) ? "open" : "closed";
  for (const name of ["waiting", "denied", "accepted"] as const) {
    const key = own<{ fingerprint: string }>(state[name], node);
    if (key !== undefined) return { window, state: name, fingerprint: key.fingerprint };
  }
  return { window, state: "none" };
}

/** How everything stands, for the operator. */
export function list(state: EnrollState, names: readonly string[], now: number): Pick<EnrollList, "window" | "nodes"> {
  const { window } = state;
  return {
    ...(window !== undefined &&
      windowIsOpen(state, now) && {
        window: { ...window, openedAt: iso(window.openedAt), closesAt: iso(window.closesAt) },
      }),
    nodes: names.map((node): EnrollNode => {
      const key = own(state.waiting, node) ?? own(state.denied, node) ?? own(state.accepted, node);
      const replaces = own(state.waiting, node) === undefined ? undefined : own(state.accepted, node)?.fingerprint;
      return {
        node,
        state: answer(state, node, now).state,
        ...(key !== undefined && { fingerprint: key.fingerprint, since: iso(key.since) }),
        ...(replaces !== undefined && { replaces }),
        token: tokenState(state, node, now),
        refused: own(state.tries, node) ?? 0,
      };
    }),
  };
}

/** Of the token that is still good, else of the last one. */
function tokenState(state: EnrollState, node: string, now: number): EnrollNode["token"] {
  const own = Object.values(state.tokens).filter((token) => token.node === node);
  if (own.some((token) => !token.used && now < token.expiresAt)) return "valid";
  const last = own.toSorted((a, b) => b.expiresAt - a.expiresAt)[0];
  return last === undefined ? "none" : last.used ? "used" : "expired";
}

/** A node may be called `constructor`. */
export function own<T>(record: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

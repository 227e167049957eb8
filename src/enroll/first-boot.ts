import type { EnrollList } from "../../shared/enroll.ts";
import { KubedosError } from "../../shared/error.ts";
import { delay, nowMs } from "../host/clock.ts";
import type { RunContext } from "../host/context.ts";
import { commandHub, type EnrollCluster, enrollHubs, openWindow, registerTokens } from "./hubs.ts";

/** Longest time that `up` holds the window open. */
const windowMinutes = 5;
const pollMs = 500;
/** Services start once /var is there. */
const shownMs = 120_000;

/**
 * The window of a first boot: opened when there is a node whose key its hub does not have, closed as soon as all are
 * enrolled, or when the time is over. A token is enough in it: this very machine has just put one into each seed. What
 * does not enroll is for the gate to say.
 *
 * @param started nodes whose machines this run has started, with a token in their seed
 * @param lost nodes that have not come
 */
export async function enrollFirstBoot(
  cluster: EnrollCluster,
  started: readonly string[],
  lost: readonly string[],
  context: RunContext,
): Promise<void> {
  const hubs = enrollHubs(cluster).filter((hub) => !lost.includes(hub));
  const expected = cluster.layer.nodes.map(({ name }) => name).filter((name) => !lost.includes(name));
  const booted = started.filter((name) => expected.includes(name));
  const ask = () => Promise.all(hubs.map((hub) => commandHub(cluster, hub, { command: "list" })));
  const missing = (lists: readonly EnrollList[]) =>
    expected.filter((name) => lists.some((list) => !isEnrolled(list, name, booted.includes(name))));
  const log = (level: "info" | "warn", message: string, hint?: string) =>
    context.emit({ type: "log", level, message, ...(hint !== undefined && { hint }) });

  // 1. Whose key is it? A machine that was made anew has another one than its hub knows.
  const before = await untilShown(ask, booted, context);
  if (hubs.length === 0 || missing(before).length === 0) return;
  // 2. A short window; one that an operator holds open stays as it is.
  const theirs = before.some(({ window }) => window !== undefined);
  if (theirs) {
    log("info", "an operator's enrollment window is open: it stays as it is");
    await registerTokens(cluster, hubs);
  } else {
    await openWindow(cluster, hubs, windowMinutes, false);
    log("info", `enrollment window open on ${hubs.join(", ")}, for at most ${windowMinutes} minutes`);
  }
  try {
    const deadline = nowMs() + windowMinutes * 60_000;
    const told = new Set<string>();
    for (;;) {
      const lists = await ask();
      const left = missing(lists);
      for (const node of missing(before).filter((name) => !left.includes(name) && !told.has(name))) {
        told.add(node);
        const { fingerprint } = lists[0]!.nodes.find((one) => one.node === node)!;
        log("info", `${node} is enrolled: its Salt key is sha256 ${fingerprint?.slice(0, 23)}…`);
      }
      if (left.length === 0) return;
      const over = nowMs() > deadline || lists.some(({ window }) => window === undefined);
      // At a hub that has taken its key a node has no valid token any more: only the others count.
      const stuck = (name: string) =>
        lists.some((list) => !isEnrolled(list, name, booted.includes(name)) && needsOperator(list, name));
      if (over || left.every(stuck)) {
        log("warn", `not enrolled: ${left.join(", ")}`, "kubedos enroll list; kubedos enroll log");
        return;
      }
      await delay(pollMs, context.signal);
    }
  } finally {
    // After Ctrl-C no call goes out any more: the window then closes by its own time.
    const close = { command: "close" } as const;
    if (!theirs) await Promise.all(hubs.map((hub) => commandHub(cluster, hub, close).catch(() => undefined)));
  }
}

/** Nothing more comes of a node without a person: its request waits or was denied, or it has no token to show. */
function needsOperator({ nodes }: EnrollList, name: string): boolean {
  const node = nodes.find((one) => one.node === name);
  return node === undefined || node.state === "waiting" || node.state === "denied" || node.token !== "valid";
}

/** Whether the hub has taken the node's key; of a node that has just booted, the key that it has itself. */
function isEnrolled({ nodes }: EnrollList, name: string, booted: boolean): boolean {
  const node = nodes.find((one) => one.node === name);
  return node?.state === "accepted" && (!booted || node.shows === node.fingerprint);
}

/** Waits until the hubs answer and every node that has booted has told them its key, as far as the time goes. */
async function untilShown(
  ask: () => Promise<EnrollList[]>,
  booted: readonly string[],
  context: RunContext,
): Promise<EnrollList[]> {
  const deadline = nowMs() + shownMs;
  for (;;) {
    try {
      const lists = await ask();
      const all = booted.every((name) =>
        lists.every(({ nodes }) => nodes.find(({ node }) => node === name)?.shows !== undefined),
      );
      if (all || nowMs() > deadline) return lists;
    } catch (error) {
      context.signal.throwIfAborted();
      if (nowMs() > deadline || !(error instanceof KubedosError)) throw error;
    }
    await delay(pollMs, context.signal);
  }
}

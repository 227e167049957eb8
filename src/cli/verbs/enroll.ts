import type { EnrollList } from "../../../shared/enroll.ts";
import { exitCodes, KubedosError } from "../../../shared/error.ts";
import type * as hubModule from "../../enroll/hubs.ts";
import type * as textModule from "../../enroll/text.ts";
import type * as tokenModule from "../../enroll/tokens.ts";
import { defaultSpecFile } from "../options.ts";
import type { VerbContext } from "../verb.ts";
import { runVerb, verb } from "../verb.ts";

const defaultWindowMinutes = 15;

/** `kubedos enroll open|token|list|approve|deny|close|log` */
export function enrollVerb() {
  return verb("enroll", {
    summary: "let nodes join that make their own Salt keys, and show the log of it",
    description:
      "For clusters with `platform.salt.enrollment: join`. A node shows a hub a one-time token for its key while a window is open. `up` does all of this for the machines that it makes; these verbs are for every other case. `log` is there in both modes.",
    examples: [
      ["enroll open --minutes 10", "take requests for ten minutes, each to be approved"],
      ["enroll token worker-1", "give a running node a new token"],
      ["enroll list", "who waits, who is enrolled, with the keys' fingerprints"],
      ["enroll approve worker-1", "accept the key that waits"],
    ],
  })
    .addCommand(openVerb())
    .addCommand(tokenVerb())
    .addCommand(listVerb())
    .addCommand(decisionVerb("approve"))
    .addCommand(decisionVerb("deny"))
    .addCommand(closeVerb())
    .addCommand(logVerb());
}

function openVerb() {
  return verb("open", {
    summary: "open the enrollment window on every hub",
    description:
      "Opened again, its time begins anew and locked nodes may try again. It closes by itself; a restart of a hub does not prolong it. Requests that nobody has decided end with it.",
    examples: [
      ["enroll open", `for ${defaultWindowMinutes} minutes; each request waits for \`enroll approve\``],
      ["enroll open --minutes 5 --token-only", "who has a valid token is accepted without being asked for"],
    ],
  })
    .option("--minutes <n>", "how long, 1 to 1440", String(defaultWindowMinutes))
    .option("--token-only", "a valid token is enough: nobody is asked")
    .option("--spec <file>", "the spec", defaultSpecFile)
    .action(async (flags, self) => {
      await runVerb(self, async (context) => {
        const minutes = wholeMinutes(flags.minutes, 1440);
        const { cluster, hubs, modules } = await openCluster(flags.spec, context);
        const lists = await modules.openWindow(cluster, hubs, minutes, flags.tokenOnly !== true);
        return shown(lists, modules);
      });
    });
}

function tokenVerb() {
  return verb("token", {
    summary: "issue a one-time token for a node that runs, and hand it over",
    description:
      "For a node whose token has expired or was used, or whose key was denied. The token goes to the node over SSH, its hash to the hubs; nobody sees it. A token from before is void.",
    examples: [
      ["enroll token worker-1", "valid for an hour"],
      ["enroll token worker-1 --minutes 5", "valid for five minutes"],
    ],
  })
    .argument("<node>", "name of the node")
    .option("--minutes <n>", "how long it is valid, 1 to 10080", "60")
    .option("--spec <file>", "the spec", defaultSpecFile)
    .action(async (node, flags, self) => {
      await runVerb(self, async (context) => {
        const minutes = wholeMinutes(flags.minutes, 10_080);
        const { cluster, hubs, modules } = await openCluster(flags.spec, context, node);
        const before = await Promise.all(hubs.map((hub) => modules.commandHub(cluster, hub, { command: "list" })));
        requireJoin(before);
        const secret = await modules.issueToken(cluster.paths, modules.tokenCluster(cluster.layer), node, minutes);
        const lists = await modules.registerTokens(cluster, hubs, node);
        await modules.deliverToken(cluster, node, secret);
        const open = lists.every(({ window }) => window !== undefined);
        const next = open ? "" : "\nnext: kubedos enroll open";
        return {
          data: { node, minutes, windowOpen: open },
          text: `${node} has a token for ${hubs.join(", ")}, valid for ${minutes} minutes${next}`,
        };
      });
    });
}

function listVerb() {
  return verb("list", {
    summary: "show the window, the nodes and their keys",
    examples: [
      ["enroll list", "one table a hub; compare the fingerprint with the one on the node's console"],
      ["enroll list --json", "the same as data"],
    ],
  })
    .option("--spec <file>", "the spec", defaultSpecFile)
    .action(async (flags, self) => {
      await runVerb(self, async (context) => {
        const { cluster, hubs, modules } = await openCluster(flags.spec, context);
        const lists = await Promise.all(hubs.map((hub) => modules.commandHub(cluster, hub, { command: "list" })));
        return shown(lists, modules);
      });
    });
}

function decisionVerb(command: "approve" | "deny") {
  const accepts = command === "approve";
  return verb(command, {
    summary: accepts ? "accept the key of a node that waits" : "refuse the key of a node that waits",
    description: accepts
      ? "On every hub where it waits, and always the key that was shown: one that came meanwhile is not accepted by mistake."
      : "The node needs a new token to ask again.",
    examples: accepts
      ? [
          ["enroll approve worker-1", "the key that waits"],
          ["enroll approve worker-1 --key 3a:5b:…", "only if it is this key, as the node's console shows it"],
        ]
      : [["enroll deny worker-1", "it stays outside"]],
  })
    .argument("<node>", "name of the node")
    .option("--key <sha256>", "fingerprint that the key must have")
    .option("--spec <file>", "the spec", defaultSpecFile)
    .action(async (node, flags, self) => {
      await runVerb(self, async (context) => {
        const { cluster, hubs, modules } = await openCluster(flags.spec, context, node);
        const before = await Promise.all(hubs.map((hub) => modules.commandHub(cluster, hub, { command: "list" })));
        requireJoin(before);
        const waiting = before.flatMap(({ hub, nodes }) => {
          const one = nodes.find((candidate) => candidate.node === node && candidate.state === "waiting");
          return one?.fingerprint === undefined ? [] : [{ hub, fingerprint: one.fingerprint }];
        });
        if (waiting.length === 0) {
          throw new KubedosError("failed", `no request of ${node} waits`, {
            hint: `kubedos enroll list; a node asks while a window is open and it has a token: kubedos enroll token ${node}`,
          });
        }
        await Promise.all(
          waiting.map(({ hub, fingerprint }) =>
            modules.commandHub(cluster, hub, { command, node, fingerprint: flags.key ?? fingerprint }),
          ),
        );
        const done = accepts ? "accepted" : "denied";
        return {
          data: { node, [done]: waiting },
          text: waiting.map(({ hub, fingerprint }) => `${hub}: ${done} ${node}, sha256 ${fingerprint}`).join("\n"),
        };
      });
    });
}

function closeVerb() {
  return verb("close", {
    summary: "close the enrollment window on every hub",
    description:
      "Requests that nobody has decided end with it. Who is enrolled stays enrolled. Fails where a hub cannot be reached: its window closes by its own time.",
    examples: [["enroll close", "nobody can ask any more"]],
  })
    .option("--spec <file>", "the spec", defaultSpecFile)
    .action(async (flags, self) => {
      await runVerb(self, async (context) => {
        const { cluster, hubs, lost, modules } = await openCluster(flags.spec, context);
        const lists = await Promise.all(hubs.map((hub) => modules.commandHub(cluster, hub, { command: "close" })));
        return { ...shown(lists, modules), status: lost.length === 0 ? 0 : exitCodes.failed };
      });
    });
}

function logVerb() {
  return verb("log", {
    summary: "show each hub's audit log of enrollment, and check it",
    description:
      "Every line names the hash of the one before. Lines that were seen from here before must still be there. Fails where the log was changed.",
    examples: [
      ["enroll log", "one line a step, oldest first"],
      ["enroll log --json", "the same as data"],
    ],
    exits: [1, 2, 3, 130],
  })
    .option("--spec <file>", "the spec", defaultSpecFile)
    .action(async (flags, self) => {
      await runVerb(self, async (context) => {
        const { cluster, hubs, lost, modules } = await openCluster(flags.spec, context);
        const logs = await Promise.all(hubs.map(async (hub) => ({ hub, ...(await modules.readLog(cluster, hub)) })));
        const text = logs.map(({ hub, lines, problem }) =>
          [
            `${hub}: ${lines.length} lines${problem === undefined ? "" : `, NOT WHOLE: ${problem}`}`,
            ...lines.map((line) => `  ${modules.auditText(line)}`),
          ].join("\n"),
        );
        const changed = logs.some(({ problem }) => problem !== undefined);
        const status = changed ? exitCodes.gate : lost.length > 0 ? exitCodes.failed : 0;
        return { data: { logs }, text: text.join("\n\n"), status };
      });
    });
}

type Modules = typeof hubModule & typeof tokenModule & typeof textModule;

async function openCluster(
  specFile: string,
  context: VerbContext,
  node?: string,
): Promise<{
  cluster: hubModule.EnrollCluster;
  /** Those that answer. */
  hubs: string[];
  lost: readonly unknown[];
  modules: Modules;
}> {
  const [{ openRunning, requireNode }, hubs, tokens, text] = await Promise.all([
    import("../../lifecycle/running.ts"),
    import("../../enroll/hubs.ts"),
    import("../../enroll/tokens.ts"),
    import("../../enroll/text.ts"),
  ]);
  const running = await openRunning(specFile);
  if (node !== undefined) requireNode(running, node);
  const cluster = hubs.enrollCluster(running, context);
  const reachable = await hubs.reachableHubs(cluster, hubs.enrollHubs(cluster));
  const hint = "it is told nothing and shows nothing here; do it again when it is back";
  for (const { reason } of reachable.lost) context.emit({ type: "log", level: "warn", message: reason, hint });
  return { cluster, ...reachable, modules: { ...hubs, ...tokens, ...text } };
}

function shown(lists: EnrollList[], { listText }: Modules) {
  return { data: { hubs: lists }, text: listText(lists) };
}

function requireJoin(lists: readonly EnrollList[]): void {
  if (lists.every(({ mode }) => mode === "join")) return;
  throw new KubedosError("failed", "the keys of this cluster are known beforehand: nobody joins", {
    hint: "`platform: { salt: { enrollment: join } }` in the spec lets nodes make their own",
  });
}

function wholeMinutes(text: string, most: number): number {
  const minutes = Number(text);
  if (/^\d+$/.test(text) && minutes >= 1 && minutes <= most) return minutes;
  throw new KubedosError("usage", `--minutes is ${JSON.stringify(text)}`, {
    hint: `write a whole number from 1 to ${most}`,
  });
}

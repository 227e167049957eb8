import { closeSync, constants, openSync, readFileSync, writeSync } from "node:fs";
import { markInstance } from "./automation.ts";
import { openEventLog, type EventLog } from "./events.ts";
import { exec } from "./exec.ts";
import { uptimeSeconds, verityRootHash } from "./facts.ts";
import { nodeName, readIdentity, type Identity } from "./identity.ts";
import { nodePaths, type NodePaths } from "./paths.ts";
import { needsUserspaceWireguard, renderedForUserspace, startUserspaceWireguard } from "./planes.ts";
import { renderPki } from "./pki.ts";
import { renderAll, writeRendered } from "./render.ts";
import { runAgent } from "./run.ts";
import { messageOf } from "./text.ts";

/**
 * The node agent.
 *
 *   agent render [--root DIR]   write the node's configuration and end
 *   agent run    [--root DIR]   report and answer, with the configuration that is there
 *   agent certificates [--root DIR]   take up renewed certificates from standard input
 *   agent boot   [--root DIR]   both in one process, as kubedos-agent.service does: starting Node twice would cost a
 *                               slow machine seconds
 *   agent ebpf                  record TCP flows and retransmits, as kubedos-ebpf.service does
 *   agent repository ADDRESS    serve the cluster's apt repository on that address, as kubedos-repository.service does
 *
 * Exit status 78 (EX_CONFIG, sysexits.h): the node cannot know who it is; starting again would not help.
 */
const usage = "usage: agent render|run|boot|certificates [--root DIR] | agent ebpf | agent repository ADDRESS\n";
const commands = ["render", "run", "boot", "certificates"] as const;
const cannotConfigure = 78;
const flushMs = 15_000;

async function main(args: readonly string[]): Promise<void> {
  if (args[0] === "repository" && args.length === 2) {
    const { serveRepository } = await import("../repository/main.ts");
    return serveRepository(args[1]!);
  }
  if (args[0] === "ebpf" && args.length === 1) {
    const { recordTcp } = await import("../ebpf/record.ts");
    return recordTcp(readIdentity(nodePaths(""), process.env));
  }
  const [name = "", flag, root = "", ...rest] = args;
  const command = commands.find((one) => one === name);
  if (command === undefined || rest.length > 0 || (flag !== undefined && (flag !== "--root" || root === ""))) {
    writeSync(2, usage);
    process.exit(2);
  }
  const paths = nodePaths(root);
  // What is rendered is for other services to read; secrets have a mode of their own.
  process.umask(0o022);
  if (command === "certificates") {
    const { takeCertificates } = await import("./take-certificates.ts");
    return takeCertificates(paths, readIdentity(paths, process.env), readFileSync(0, "utf8"));
  }
  const log = openEventLog(paths);
  const identity = await configure(command, paths, log);
  if (command === "render") {
    await log.flush(flushMs);
    return;
  }
  if (command === "boot") await tellReady();
  if (renderedForUserspace(paths, identity) && root === "") await startUserspaceWireguard(identity);
  await runAgent(paths, identity, log);
}

/** Reads who this node is and, unless it only runs, writes its configuration. A failure ends the process. */
async function configure(command: "render" | "run" | "boot", paths: NodePaths, log: EventLog): Promise<Identity> {
  try {
    const identity = readIdentity(paths, process.env);
    if (command === "boot" && !identity.container && verityRootHash(paths) !== undefined) {
      // The initrd cannot speak for itself: that the agent runs from a mapped root is its message.
      const uptime = uptimeSeconds(paths, false);
      log.emit({ type: "node.phase", node: identity.node.name, phase: "sealed", uptimeSeconds: uptime });
    }
    if (command !== "run") {
      markInstance(paths);
      const rendered = renderAll(identity, await needsUserspaceWireguard(identity.container));
      writeRendered(paths, [...rendered, ...renderPki(paths, identity, process.env)]);
    }
    return identity;
  } catch (error) {
    const message = messageOf(error);
    const text = `kubedos: FAILED: this node cannot be configured: ${message}\n`;
    writeSync(2, text);
    writeConsole(paths, text);
    log.emit({ type: "node.phase", node: nameOrUnknown(paths), phase: "failed", note: message });
    await log.flush(flushMs);
    process.exit(cannotConfigure);
  }
}

/** The console is the one place where a person looks at a node that has no network. */
function writeConsole(paths: NodePaths, text: string): void {
  try {
    const console = openSync(paths.at("/dev/console"), constants.O_WRONLY | constants.O_NOCTTY);
    writeSync(console, `\r\n${text}`);
    closeSync(console);
  } catch {
    // there is none
  }
}

function nameOrUnknown(paths: NodePaths): string {
  try {
    return nodeName(paths, process.env);
  } catch {
    return "unknown";
  }
}

/** sd_notify(3): what waits for the rendered configuration may start. */
async function tellReady(): Promise<void> {
  if (process.env["NOTIFY_SOCKET"] !== undefined) await exec("systemd-notify", ["--ready"]);
}

main(process.argv.slice(2)).catch((error: unknown) => {
  writeSync(2, `kubedos: the agent failed: ${messageOf(error)}\n`);
  // Not process.exit: it would wait for a read of the control port that may never end.
  process.exitCode = 1;
  process.kill(process.pid, "SIGKILL");
});

import { rmSync, writeSync } from "node:fs";
import { nodePaths } from "../agent/paths.ts";
import { readIdentity } from "../agent/identity.ts";
import { messageOf } from "../agent/text.ts";
import { converge, leads, readOptional, readRequest, requestFile } from "./engine.ts";
import { requestRun, watchRun } from "./operator.ts";
import { showLog, showState } from "./show.ts";

/**
 * The convergence engine of a hub.
 *
 *   converge run              go along the graph: what kubedos-converge.service does
 *   converge request OPTIONS  ask the service for a run, show its events until it ends (as root); OPTIONS is JSON
 *   converge watch            show the events of the last run from its beginning until it ends
 *   converge status           the state as JSON
 *   converge log NAME         what ran in a stage, or on a node, in the last run
 *
 * Exit status: 0 done, 1 failed, 2 usage, 3 something was not converged, 78 this node is no hub or has no key.
 */
const usage = "usage: converge run|request OPTIONS|watch|status|log NAME\n";
const notMet = 3;
const cannotConfigure = 78;

async function main(args: readonly string[]): Promise<number> {
  const [command, argument] = args;
  switch (command) {
    case "run":
      return run();
    case "request":
      return requestRun(argument ?? "{}");
    case "watch":
      return watchRun();
    case "status":
      return showState();
    case "log":
      return showLog(argument ?? "");
    default:
      writeSync(2, usage);
      return 2;
  }
}

async function run(): Promise<number> {
  const paths = nodePaths("");
  let identity: ReturnType<typeof readIdentity>;
  try {
    identity = readIdentity(paths, process.env);
  } catch (error) {
    writeSync(2, `kubedos: this node cannot converge others: ${messageOf(error)}\n`);
    return cannotConfigure;
  }
  const interrupt = new AbortController();
  process.on("SIGTERM", () => interrupt.abort());
  process.on("SIGINT", () => interrupt.abort());
  const { layer, node: self } = identity;
  const request = readRequest(readOptional(requestFile()));
  rmSync(requestFile(), { force: true });
  if (request === undefined && !leads({ layer, self })) {
    writeSync(1, "kubedos: another hub leads; this one waits to be asked\n");
    return 0;
  }
  const outcome = await converge({ layer, self, request, signal: interrupt.signal });
  return outcome === "passed" || outcome === "interrupted" ? 0 : notMet;
}

main(process.argv.slice(2)).then(
  (status) => process.exit(status),
  (error: unknown) => {
    writeSync(2, `kubedos: the convergence failed: ${messageOf(error)}\n`);
    process.exit(1);
  },
);

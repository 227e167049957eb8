import { existsSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { enrollPaths } from "../../shared/enroll.ts";
import { nodePaths } from "../agent/paths.ts";
import { messageOf } from "../agent/text.ts";
import { loginAddress, sendControl } from "./control.ts";
import { joinCluster, takeToken } from "./join.ts";
import { serveEnrollment } from "./serve.ts";

/**
 * Enrollment of nodes at a hub's Salt master.
 *
 *   enroll serve      on a hub: take nodes' requests, keep the audit log: what kubedos-enroll.service does
 *   enroll join       on a node: make a key, show the hubs a token for it: what kubedos-join.service does
 *   enroll control    on a hub, as root: hand the command on standard input (JSON) to the service, print its reply
 *   enroll log        on a hub, as root: the audit log
 *   enroll token      on a node, as root: take the token on standard input
 *
 * Exit status: 0 done, 1 failed, 2 usage.
 */
const usage = "usage: enroll serve|join|control|log|token\n";

async function main(args: readonly string[]): Promise<void> {
  const paths = nodePaths("");
  process.umask(0o022);
  switch (args.length === 1 ? args[0] : undefined) {
    case "serve":
      return serveEnrollment(paths, process.env);
    case "join":
      return joinCluster(paths, process.env);
    case "control":
      writeSync(1, await sendControl(enrollPaths.control, readFileSync(0, "utf8"), loginAddress()));
      return;
    case "log": {
      const file = join(enrollPaths.state, "audit.jsonl");
      process.stdout.write(existsSync(file) ? readFileSync(file) : "");
      return;
    }
    case "token":
      return takeToken(paths, readFileSync(0, "utf8"));
    default:
      writeSync(2, usage);
      process.exitCode = 2;
  }
}

main(process.argv.slice(2)).catch((error: unknown) => {
  writeSync(2, `kubedos: ${messageOf(error)}\n`);
  process.exit(1);
});

import { writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import type { LockedWheel, PythonRequest } from "../../lock/inputs.ts";
import type { Lock } from "../../lock/types.ts";
import type { Store } from "../../store/store.ts";
import type { Stage } from "../engine.ts";
import { runScript, scriptVersion, type Tools } from "../tools.ts";

/** What python-install.py reads as /in/plan. */
export function pythonPlan(
  wheels: readonly LockedWheel[],
  requests: readonly PythonRequest[],
  objectPath: (sha256: string) => string,
): string {
  return JSON.stringify({
    without: Object.fromEntries(requests.map(({ prefix, without = [] }) => [prefix, without])),
    wheels: wheels.map(({ prefix, name, filename, kind, sha256, buildOf }) => {
      return { prefix, name, filename, sdist: kind === "sdist", buildOf: buildOf ?? null, object: objectPath(sha256) };
    }),
  });
}

/** Directory of the store that is seen as /in/objects. */
export function objectsDirectory(store: Store): string {
  return join(store.directory, "store/sha256");
}

/**
 * The locked Python distributions as virtual environments, source distributions built first: a tar to be laid over the
 * tree. Each prefix has `bin/python3` and `lib/python3.X/site-packages`.
 */
export function pythonStage(
  tools: Tools,
  { wheels = [], requested }: Pick<Lock, "wheels" | "requested">,
  store: Store,
): Stage {
  const requests = requested.python ?? [];
  const objects = objectsDirectory(store);
  return {
    name: "python",
    version: scriptVersion(tools, "python.sh", "python-install.py"),
    options: { wheels, requests, epoch: tools.epoch },
    inputs: {},
    outputs: ["tree"],
    async run(work) {
      const plan = join(work.out, "plan");
      await writeFile(
        plan,
        pythonPlan(wheels, requests, (sha256) => relative(objects, store.path(sha256))),
      );
      await runScript(tools, work, "python.sh", ["tree"], { inputs: { plan, objects } });
    },
  };
}

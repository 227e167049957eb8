import type { RunContext } from "../host/context.ts";
import type { Lock } from "../lock/types.ts";
import type { Spec } from "../spec/types.ts";
import { acquireSources } from "./acquire.ts";
import type { AcquireSources, Origin } from "./places.ts";
import { openPythonIndex } from "./python-index.ts";

/** Where everything of a lock comes from: archives' mirrors, and an origin for each other content. */
export async function lockSources(
  spec: Pick<Spec, "platform">,
  lock: Pick<Lock, "wheels">,
  context: Pick<RunContext, "signal">,
): Promise<AcquireSources> {
  const sources = await acquireSources(spec.platform.mirror, context.signal);
  return { ...sources, origins: new Map([...wheelOrigins(lock.wheels ?? [], context.signal)]) };
}

/** The host's Python indexes, opened when the first distribution is missing. */
export function wheelOrigins(
  wheels: readonly { name: string; filename: string; sha256: string }[],
  signal: AbortSignal,
): Map<string, Origin> {
  let opened: ReturnType<typeof openPythonIndex> | undefined;
  return new Map(
    wheels.map(({ name, filename, sha256 }): [string, Origin] => [
      sha256,
      {
        where: "the Python index",
        async places() {
          opened ??= openPythonIndex();
          return (await opened).places(name, filename, sha256, signal);
        },
      },
    ]),
  );
}

import { foundryPackages, pythonFoundryPackages } from "../assemble/foundry-packages.ts";
import { outlinePlatform } from "../features/collect.ts";
import type { RunContext } from "../host/context.ts";
import type { PythonRequest } from "../lock/inputs.ts";
import { diffLines } from "../lock/diff.ts";
import { createLock, lockMatches, type LockRequest } from "../lock/lock.ts";
import type { Lock } from "../lock/types.ts";
import type { Spec } from "../spec/types.ts";
import type { Store } from "../store/store.ts";
import { lockPython } from "./lock-python.ts";

/** Everything that a lock for one spec must hold. */
export interface InputsRequest extends LockRequest {
  python: PythonRequest[];
}

/** What a lock for this spec must hold. */
export function lockRequest(spec: Spec): InputsRequest {
  const { packages, wheels } = outlinePlatform(spec);
  return {
    suite: spec.platform.suite,
    profile: spec.platform.repository.profile,
    mirror: spec.platform.mirror,
    platform: packages,
    foundry: [...foundryPackages, ...(wheels.length > 0 ? pythonFoundryPackages : [])].toSorted(),
    python: wheels,
  };
}

/** Resolves every input of a spec: Debian's packages first, then what needs the build tools among them. */
export async function makeLock(request: InputsRequest, store: Store, context: RunContext): Promise<Lock> {
  const lock = await createLock(request, context);
  const wheels = await lockPython(request.python, lock, request.mirror, store, context);
  return {
    ...lock,
    requested: { ...lock.requested, ...(request.python.length > 0 ? { python: request.python } : {}) },
    ...(wheels === undefined ? {} : { wheels }),
  };
}

/** What a spec asks for and its lock lacks (`+`), or the other way round (`-`); empty: the lock fits. */
export function lockMismatches(lock: Lock, request: InputsRequest): string[] {
  const { added, removed, suites } = lockMatches(lock, request);
  const python = diffLines((lock.requested.python ?? []).map(pythonLine), request.python.map(pythonLine));
  return [
    ...added.map((name) => `+${name}`),
    ...removed.map((name) => `-${name}`),
    ...(suites ? [] : ["other suites"]),
    ...python.added.map((line) => `+${line}`),
    ...python.removed.map((line) => `-${line}`),
  ];
}

function pythonLine({ prefix, requirements, without = [] }: PythonRequest): string {
  const left = without.length === 0 ? "" : ` without ${without.join(", ")}`;
  return `${requirements.join(", ")} in ${prefix}${left}`;
}

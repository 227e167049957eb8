import { Option } from "@commander-js/extra-typings";
import { KubedosError } from "../../../shared/error.ts";
import { count, formatBytes } from "../format.ts";
import { darksiteOption, defaultSpecFile, repoModeOption, repoProfileOption, withOverrides } from "../options.ts";
import { runVerb, verb } from "../verb.ts";
import type { Lock, LockedPackage } from "../../lock/types.ts";

/** `kubedos lock [spec]` */
export function lockVerb() {
  return verb("lock", {
    summary: "pin every input of a spec by hash",
    description:
      "Resolves the packages of the platform and of the build tools with apt in a private root and writes them beside the\n" +
      "spec, `lab.lock` for `lab.yaml`. A lock that is there stays as it is unless --update is given.",
    examples: [
      ["lock lab.yaml", "write lab.lock, or see whether it still fits the spec"],
      ["lock lab.yaml --update", "move to the archive's newest packages and show what changed"],
      ["lock lab.yaml --update --security-tracker tracker.json", "with vulnerability data from a file, for `audit`"],
      ["lock lab.yaml --update --dry-run", "only show what would change"],
    ],
    exits: [1, 2, 4, 130],
  })
    .argument("[spec]", "spec file", defaultSpecFile)
    .option("--update", "resolve anew although there is a lock")
    .option("--dry-run", "write nothing, say what would change")
    .addOption(repoModeOption())
    .addOption(repoProfileOption())
    .addOption(darksiteOption())
    .addOption(
      new Option(
        "--security-tracker <place>",
        "URL or file of the data of Debian's security tracker, for `audit` (default: Debian's, if it can be reached)",
      ).env("KUBEDOS_SECURITY_TRACKER"),
    )
    .action(async (file, options, command) => {
      await runVerb(command, async (context) => {
        const [
          { loadSpec },
          { readLock, writeLock },
          diffing,
          { lockMismatches, lockRequest, makeLock },
          { cacheDirectory, specPaths },
          { openStore },
        ] = await Promise.all([
          import("../../spec/load.ts"),
          import("../../lock/file.ts"),
          import("../../lock/diff.ts"),
          import("../../lifecycle/lock.ts"),
          import("../../host/paths.ts"),
          import("../../store/store.ts"),
        ]);
        const request = {
          ...lockRequest(withOverrides(await loadSpec(file), options)),
          securityTracker: options.securityTracker,
        };
        const path = specPaths(file).lock;
        const dryRun = options.dryRun === true;

        // 1. A lock that fits stays
        const old = await readLock(path).catch((error: unknown) => {
          // A damaged lock is no reason not to make a good one.
          if (options.update !== true || !(error instanceof KubedosError)) throw error;
          context.emit({ type: "log", level: "warn", message: `${error.message}; making a new one` });
          return undefined;
        });
        if (old !== undefined && options.update !== true) {
          const mismatches = lockMismatches(old, request);
          if (mismatches.length === 0)
            return { data: summary(path, old, "kept"), text: `${path} fits the spec: ${describe(old)}` };
          throw new KubedosError("spec", `the spec asks for something else than the lock: ${mismatches.join("; ")}`, {
            at: { file: path },
            hint: `run \`kubedos lock ${file} --update\``,
          });
        }

        // 2. Resolve, compare, write
        const lock = await makeLock(request, await openStore(cacheDirectory()), context);
        if (old === undefined) {
          if (!dryRun) await writeLock(path, lock);
          return {
            data: summary(path, lock, dryRun ? "not written" : "written"),
            text: `${dryRun ? "would write" : "wrote"} ${path}: ${describe(lock)}`,
          };
        }
        const diff = diffing.diffLocks(old, lock);
        // The same packages may be asked for by other names: the lock says what was asked.
        const same = diffing.isSameLock(diff) && lockMismatches(old, request).length === 0;
        if (!same && !dryRun) await writeLock(path, lock);
        return {
          data: { ...summary(path, lock, same ? "kept" : dryRun ? "not written" : "written"), diff },
          text: `${diffing.formatLockDiff(diff)}${same ? "kept" : dryRun ? "would write" : "wrote"} ${path}: ${describe(lock)}`,
        };
      });
    });
}

function summary(path: string, lock: Lock, outcome: "kept" | "written" | "not written"): Record<string, unknown> {
  return {
    lock: path,
    outcome,
    epoch: lock.epoch,
    platform: { packages: lock.platform.length, sizeBytes: totalBytes(lock.platform) },
    foundry: { packages: lock.foundry.length, sizeBytes: totalBytes(lock.foundry) },
    ...(lock.machines === undefined
      ? {}
      : { machines: { packages: lock.machines.length, sizeBytes: totalBytes(lock.machines) } }),
    ...(lock.shim === undefined ? {} : { shim: { packages: lock.shim.length, sizeBytes: totalBytes(lock.shim) } }),
    ...(lock.wheels === undefined
      ? {}
      : { wheels: { distributions: lock.wheels.length, sizeBytes: totalBytes(lock.wheels) } }),
    ...(lock.blobs === undefined ? {} : { blobs: { files: lock.blobs.length, sizeBytes: totalBytes(lock.blobs) } }),
    ...(lock.images === undefined ? {} : { images: { images: lock.images.length, sizeBytes: imageBytes(lock) } }),
    securityData: lock.securityData?.date,
  };
}

function describe(lock: Lock): string {
  const part = (name: string, list: readonly LockedPackage[]) =>
    `${name} ${count(list.length, "package")} (${formatBytes(totalBytes(list))})`;
  const date = new Date(lock.epoch * 1000).toISOString().slice(0, 10);
  const { wheels, blobs, images, securityData } = lock;
  return [
    part("platform", lock.platform),
    part("foundry", lock.foundry),
    ...(lock.machines === undefined ? [] : [part("machines", lock.machines)]),
    ...(lock.shim === undefined ? [] : [part("shim", lock.shim)]),
    ...(lock.netinst === undefined ? [] : [part("netinst", [...lock.netinst, ...(lock.installer ?? [])])]),
    ...(wheels === undefined ? [] : [`${count(wheels.length, "wheel")} (${formatBytes(totalBytes(wheels))})`]),
    ...(blobs === undefined ? [] : [`${count(blobs.length, "file")} (${formatBytes(totalBytes(blobs))})`]),
    ...(images === undefined ? [] : [`${count(images.length, "image")} (${formatBytes(imageBytes(lock))})`]),
    `archive of ${date}`,
    ...(securityData === undefined ? ["no security data"] : []),
  ].join(", ");
}

function imageBytes({ images = [] }: Lock): number {
  return totalBytes(images.flatMap(({ manifest, config, layers }) => [manifest, config, ...layers]));
}

function totalBytes(list: readonly { sizeBytes: number }[]): number {
  return list.reduce((sum, one) => sum + one.sizeBytes, 0);
}

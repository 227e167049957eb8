// check and plan of large specs.
import { join } from "node:path";
import { kubedos, launcher, timed, writeSpec } from "./support.mjs";

export async function benchScale(scratch) {
  const rows = [];
  for (const [nodes, topology, target] of [
    [1000, "mesh", "< 2 s"],
    [10_000, "hub", "< 10 s, < 1000 MiB"],
  ]) {
    const spec = join(scratch, `scale-${nodes}.yaml`);
    const env = { KUBEDOS_CONFIG: join(scratch, "config") };
    await kubedos(["init", `scale-${nodes}`], { env, cwd: scratch });
    await writeSpec(spec, { name: "scale", nodes, topology });
    await kubedos(["lock", spec], { env });
    for (const verb of ["check", "plan"]) {
      const { seconds, stderr } = await timed("/usr/bin/time", ["-f", "peak %M", launcher, verb, spec], { env });
      const peak = Number(/peak (\d+)/.exec(stderr)?.[1] ?? 0) / 1024;
      const what = `${verb} of ${nodes} nodes (${topology})`;
      rows.push({ what, value: seconds, unit: "s", target, note: `peak ${peak.toFixed(0)} MiB` });
    }
  }
  return rows;
}

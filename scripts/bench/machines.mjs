// From power-on to every peer on every plane.
import { join } from "node:path";
import { events, kubedos, writeSpec } from "./support.mjs";

const targets = { "qemu 3": "< 150 s", "nspawn 3": "< 10 s", "nspawn 10": "< 15 s" };

export async function benchMachines(scratch, substrate, counts) {
  const rows = [];
  for (const nodes of counts) {
    const name = `${substrate}${nodes}`;
    const spec = join(scratch, `${name}.yaml`);
    const env = { KUBEDOS_CONFIG: join(scratch, "config"), KUBEDOS_RUNTIME: join(scratch, "run") };
    await writeSpec(spec, { name, nodes, substrate });
    try {
      const { stdout } = await kubedos(["up", spec, "--json"], { env });
      const { timings } = events(stdout).at(-1);
      const what = `${substrate}, ${nodes} nodes: power-on to all planes`;
      const note = `gates ${timings.gates.toFixed(1)} s more`;
      rows.push({ what, value: timings.boot, unit: "s", target: targets[`${substrate} ${nodes}`], note });
    } finally {
      await kubedos(["down", spec], { env, mayFail: true });
    }
  }
  return rows;
}

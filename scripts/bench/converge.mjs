// Convergence of nspawn clusters: the first run from boot, and a second one that changes nothing.
import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { events, kubedos, writeSpec } from "./support.mjs";

const features = "[agent, ansible, base, firewall, kernel, node-metrics, planes, ssh, time]";

export async function benchConverge(scratch, counts) {
  const rows = [];
  for (const nodes of counts) {
    const name = `converge${nodes}`;
    const spec = join(scratch, `${name}.yaml`);
    const env = { KUBEDOS_CONFIG: join(scratch, "config"), KUBEDOS_RUNTIME: join(scratch, "run") };
    await writeSpec(spec, { name, nodes, substrate: "nspawn" });
    await appendFile(spec, `platform: { features: ${features} }\n`);
    try {
      const first = events((await kubedos(["up", spec, "--json"], { env })).stdout).at(-1);
      const again = await kubedos(["converge", spec, "--json"], { env });
      const { seconds, stages, changed } = events(again.stdout).at(-1);
      const begin = first.convergence.stages.filter((stage) => stage.seconds !== undefined);
      const firstNote = begin.map((stage) => `${stage.stage} ${stage.seconds.toFixed(1)}`).join(", ");
      const parts = stages.filter((stage) => stage.seconds !== undefined);
      const note = parts.map((stage) => `${stage.stage} ${stage.seconds.toFixed(1)}`).join(", ");
      rows.push({
        what: `nspawn, ${nodes} nodes: first convergence`,
        value: first.convergence.seconds,
        unit: "s",
        note: firstNote,
      });
      rows.push({
        what: `nspawn, ${nodes} nodes: second convergence, ${changed} changed`,
        value: seconds,
        unit: "s",
        target: nodes === 6 ? "< 40 s" : undefined,
        note: `${note}; the command as a whole ${again.seconds.toFixed(1)} s`,
      });
    } finally {
      await kubedos(["down", spec], { env, mayFail: true });
    }
  }
  return rows;
}

/** `salt '*' test.ping` by hand on the hub of ten nodes: the fastest of three. */
export async function benchSalt(scratch) {
  const nodes = 10;
  const spec = join(scratch, "salt.yaml");
  const env = { KUBEDOS_CONFIG: join(scratch, "config"), KUBEDOS_RUNTIME: join(scratch, "run") };
  await writeSpec(spec, { name: "salt", nodes, substrate: "nspawn" });
  await appendFile(spec, `platform: { features: ${features.replace("]", ", salt]")} }\n`);
  try {
    await kubedos(["up", spec], { env });
    const times = [];
    for (let turn = 0; turn < 3; turn++) {
      const command = ["ssh", "--spec", spec, "hub", "--", "salt", "*", "test.ping", "--out=txt"];
      const { stdout, seconds } = await kubedos(command, { env });
      const answers = stdout.match(/: True$/gm)?.length ?? 0;
      if (answers !== nodes) throw new Error(`${answers} of ${nodes} minions answer:\n${stdout}`);
      times.push(seconds);
    }
    const note = `through \`kubedos ssh\`; all: ${times.map((one) => one.toFixed(1)).join(", ")}`;
    return [{ what: "salt '*' test.ping, ten nodes", value: Math.min(...times), unit: "s", target: "< 3 s", note }];
  } finally {
    await kubedos(["down", spec], { env, mayFail: true });
  }
}

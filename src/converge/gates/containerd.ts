import { poll } from "./poll.ts";
import type { Gate, GateCheck } from "./types.ts";

const limitSeconds = 60;
/** Parts of containerd that a workload cannot do without. */
const plugins = ["io.containerd.grpc.v1 cri", "io.containerd.runtime.v2 task"];

/** containerd answers on every node that should have it, with its runtime and its Kubernetes interface. */
export const containerdGate: Gate = {
  name: "containerd",
  summary: "containerd answers on core and worker nodes, with runtime and CRI",
  async run(context) {
    const nodes = context.layer.nodes.filter(({ roles }) => roles.includes("core") || roles.includes("worker"));
    const checks = await Promise.all(
      nodes.map(async ({ name }): Promise<GateCheck[]> => {
        const listed = await poll(
          context,
          limitSeconds,
          () => context.shell(name, ["sudo", "ctr", "plugins", "ls"]),
          ({ status }) => status === 0,
        );
        const rows = listed.stdout.split("\n").map((line) => line.trim().split(/\s+/));
        const runc = await context.shell(name, ["sudo", "runc", "--version"]);
        return [
          ...plugins.map((plugin): GateCheck => {
            const row = rows.find(([type, id]) => `${type} ${id}` === plugin);
            const evidence = row?.at(-1) ?? (listed.stderr.trim() || "not there");
            return { what: `${name}: ${plugin}`, ok: row?.at(-1) === "ok", evidence };
          }),
          { what: `${name}: runc`, ok: runc.status === 0, evidence: (runc.stdout || runc.stderr).split("\n")[0] ?? "" },
        ];
      }),
    );
    return checks.flat();
  },
};

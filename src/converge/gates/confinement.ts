import type { LayerNode } from "../../../shared/cluster-layer.ts";
import { confinedUnits } from "../../../shared/confinement.ts";
import { output } from "./shell.ts";
import type { GateCheck, GateContext } from "./types.ts";

/** Longest evidence of denials, in characters. */
const longest = 400;

/** Every process of the units that have a profile runs under it, and no profile was in the way of what it confines. */
export async function confinement(context: GateContext, node: LayerNode): Promise<GateCheck[]> {
  if (!context.sealedSubstrate) return [];
  const rows = (await output(context, node, ["sudo", "ps", "-e", "-o", "unit=,label="])).split("\n");
  const processes = rows.flatMap((row) => {
    const [unit = "", ...label] = row.trim().split(/\s+/);
    return unit in confinedUnits ? [{ unit: unit as keyof typeof confinedUnits, label: label.join(" ") }] : [];
  });
  const loose = processes.filter(({ unit, label }) => label !== `${confinedUnits[unit]} (enforce)`);
  const units = [...new Set(processes.map(({ unit }) => unit))].toSorted();
  // Status 1: there is nothing.
  const events = await output(context, node, ["sudo", "ausearch", "--input-logs", "--raw", "--message", "AVC"], [0, 1]);
  const denied = events.split("\n").filter((line) => line.includes('apparmor="DENIED"'));
  return [
    {
      what: `${node.name}: AppArmor profiles`,
      ok: loose.length === 0 && units.includes("kubedos-agent.service"),
      evidence: (loose.length > 0 ? loose.map(({ unit, label }) => `${unit} is ${label}`) : units).join(", "),
    },
    {
      what: `${node.name}: AppArmor refused nothing`,
      ok: denied.length === 0,
      evidence: denied.join("; ").slice(0, longest) || "nothing",
    },
  ];
}

/** The audit rules are loaded and locked, and what a person did as root is in the trail: this gate's own commands. */
export async function audit(context: GateContext, node: LayerNode): Promise<GateCheck[]> {
  if (!context.sealedSubstrate) return [];
  const status = await output(context, node, ["sudo", "auditctl", "-s"]);
  const wanted = await output(context, node, ["sudo", "cat", "/etc/audit/rules.d/audit.rules"]);
  const rules = (await output(context, node, ["sudo", "auditctl", "-l"])).trim().split("\n");
  const count = wanted.split("\n").filter((line) => line.startsWith("-a ")).length;
  const locked = /^enabled 2$/m.test(status) && rules.length === count;
  const search = ["sudo", "ausearch", "--input-logs", "--just-one", "--key", "kubedos-root"];
  const found = await output(context, node, search, [0, 1]);
  const command = /\btype=SYSCALL .*? auid=(\S+) .*? exe="?([^" ]+)/m.exec(found);
  return [
    {
      what: `${node.name}: audit rules`,
      ok: locked,
      evidence: `${rules.length} of ${count} loaded, ${/^enabled \d$/m.exec(status)?.[0] ?? "state unknown"} (2: locked)`,
    },
    {
      what: `${node.name}: what people do as root is in the audit trail`,
      ok: command !== null,
      evidence: command === null ? found.slice(0, longest) || "nothing is" : `${command[2]} by login ${command[1]}`,
    },
  ];
}

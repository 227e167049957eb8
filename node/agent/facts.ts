import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";
import type { NodeFacts } from "../../shared/events.ts";
import type { Identity } from "./identity.ts";
import { certificateFacts } from "./pki.ts";
import type { NodePaths } from "./paths.ts";
import { planeFacts } from "./planes.ts";
import { readText } from "./text.ts";

// Global variables of UEFI, named with its vendor GUID (UEFI specification, 3.3).
const efiGlobal = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/** What the node is and how its planes are. Absent where it cannot be read; never throws. */
export async function nodeFacts(paths: NodePaths, identity: Identity): Promise<NodeFacts> {
  const rootHash = verityRootHash(paths);
  const memory = readText(paths.at("/proc/meminfo")) ?? "";
  return {
    kernel: release(),
    secureBoot: efiFlag(paths, "SecureBoot"),
    setupMode: efiFlag(paths, "SetupMode"),
    lockdown: /\[(\w+)\]/.exec(readText(paths.at("/sys/kernel/security/lockdown")) ?? "")?.[1],
    // In sysfs, because the agent sees no devices but its ports; a container's sysfs shows the host's TPM.
    tpm: !identity.container && existsSync(paths.at("/sys/class/tpm/tpm0")),
    state: stateKind(paths),
    rootHash,
    sealed: rootHash !== undefined && !identity.container,
    uptimeSeconds: uptimeSeconds(paths, identity.container),
    memoryTotalBytes: memoryBytes(memory, "MemTotal"),
    memoryAvailableBytes: memoryBytes(memory, "MemAvailable"),
    planes: await planeFacts(identity),
    certificates: await certificateFacts(paths, identity),
  };
}

function stateKind(paths: NodePaths): NodeFacts["state"] {
  const kind = readText(paths.state);
  return kind === "encrypted" || kind === "plain" || kind === "volatile" ? kind : undefined;
}

/** Seconds since the kernel started; in a container, since its first process did. */
export function uptimeSeconds(paths: NodePaths, container: boolean): number {
  const kernel = Number(/^\S+/.exec(readText(paths.at("/proc/uptime")) ?? "")?.[0] ?? 0);
  if (!container) return kernel;
  // proc(5), /proc/pid/stat: field 22, counted after the command's name in parentheses; 100 ticks a second.
  const fields = (readText(paths.at("/proc/1/stat")) ?? "").replace(/^.*\) /, "").split(" ");
  return Number((kernel - Number(fields[19] ?? 0) / 100).toFixed(2));
}

/**
 * The root hash of the mapped verity device, as the kernel tells it (`dmsetup table`), else as the initrd noted it.
 * Table: https://docs.kernel.org/admin-guide/device-mapper/verity.html
 */
export function verityRootHash(paths: NodePaths): string | undefined {
  const tables = (readText(paths.verityTable) ?? "").split("\n").map((line) => line.split(/\s+/));
  const verity = tables.filter((fields) => fields.includes("verity"));
  const table = verity.find((fields) => fields[0] === "root:") ?? verity[0];
  const digest = table?.[table.indexOf("verity") + 9] ?? readText(paths.rootHash);
  return digest !== undefined && /^[0-9a-f]{64}$/.test(digest) ? digest : undefined;
}

/** Four bytes of attributes, then the value. */
function efiFlag(paths: NodePaths, name: string): boolean | undefined {
  try {
    const bytes = readFileSync(paths.at(`/sys/firmware/efi/efivars/${name}-${efiGlobal}`));
    return bytes.length === 5 ? bytes[4] === 1 : undefined;
  } catch {
    return undefined;
  }
}

function memoryBytes(meminfo: string, name: string): number | undefined {
  const kib = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(meminfo)?.[1];
  return kib === undefined ? undefined : Number(kib) * 1024;
}

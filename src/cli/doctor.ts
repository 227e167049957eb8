import type { HostProbe } from "../host/probe.ts";
import { examineRequirements } from "../substrates/requirements.ts";
import { count, formatBytes, type Paint } from "./format.ts";
import { formatTable } from "../../shared/table.ts";

/** What a finding is about: what cannot be done without it. */
export type Purpose = "lock" | "build" | "qemu" | "nspawn" | "access";

/** One thing that was looked at. `lacks`: the purpose cannot be met; `note`: it can, but something is worth knowing. */
export interface Finding {
  purpose: Purpose;
  what: string;
  state: "ok" | "lacks" | "note";
  detail: string;
  hint?: string;
}

/** Bytes that a first build needs: store, foundry root, trees and artifacts of the example lab. */
const buildDiskBytes = 6e9;
/** Bytes of memory that a lab of three small nodes needs under emulation. */
const labMemoryBytes = 4e9;

/** Commands of locking and building, with the Debian package that brings them; those of machines are the substrates'. */
const commands: readonly { purpose: Purpose; command: string; package: string }[] = [
  { purpose: "lock", command: "apt-get", package: "apt" },
  { purpose: "lock", command: "gpgv", package: "gpgv" },
  { purpose: "build", command: "dpkg-deb", package: "dpkg" },
  { purpose: "build", command: "unshare", package: "util-linux" },
  { purpose: "build", command: "mount", package: "mount" },
];

/** Looks at everything that any verb needs of the host. Nothing is changed. */
export async function examineHost(host: HostProbe, cacheDirectory: string): Promise<Finding[]> {
  const tools = await Promise.all(commands.map((one) => examineCommand(host, one)));
  const rest = await Promise.all([
    examineNode(host),
    examineKeyring(host),
    examineNamespaces(host),
    examineDisk(host, cacheDirectory),
    examineKvm(host),
    examineMemory(host),
    examineRoot(host),
  ]);
  const order: readonly Purpose[] = ["lock", "build", "qemu", "nspawn", "access"];
  return [...tools, ...(await examineMachines(host)), ...rest].toSorted(
    (a, b) => order.indexOf(a.purpose) - order.indexOf(b.purpose),
  );
}

async function examineCommand(host: HostProbe, wanted: (typeof commands)[number]): Promise<Finding> {
  const { purpose, command } = wanted;
  const path = await host.findCommand(command);
  if (path !== undefined) return { purpose, what: command, state: "ok", detail: path };
  return { purpose, what: command, state: "lacks", detail: "not found", hint: `apt-get install ${wanted.package}` };
}

async function examineNode(host: HostProbe): Promise<Finding> {
  const [major = 0, minor = 0] = host.nodeVersion.replace(/^v/, "").split(".").map(Number);
  const enough = major > 20 || (major === 20 && minor >= 19);
  return {
    purpose: "build",
    what: "node",
    state: enough ? "ok" : "lacks",
    detail: host.nodeVersion,
    hint: enough ? undefined : "kubedos needs Node 20.19 or newer; start it with ./kubedos, which finds or makes one",
  };
}

async function examineKeyring(host: HostProbe): Promise<Finding> {
  const path = "/usr/share/keyrings/debian-archive-keyring.gpg";
  const what = "Debian's archive keys";
  if (await host.readable(path)) return { purpose: "lock", what, state: "ok", detail: path };
  return {
    purpose: "lock",
    what,
    state: "lacks",
    detail: `${path} is missing`,
    hint: "apt-get install debian-archive-keyring",
  };
}

async function examineNamespaces(host: HostProbe): Promise<Finding> {
  const what = "namespaces";
  const found = (state: Finding["state"], detail: string, hint?: string): Finding => ({
    purpose: "build",
    what,
    state,
    detail,
    hint,
  });
  if (host.root) {
    if (await host.succeeds("unshare", ["--mount", "--net", "--pid", "--fork", "true"])) return found("ok", "as root");
    return found(
      "lacks",
      "root may not make namespaces here",
      "in a container: give it CAP_SYS_ADMIN (docker run --privileged)",
    );
  }
  const mapped = await Promise.all(["/etc/subuid", "/etc/subgid"].map((file) => hasSubordinateIds(host, file)));
  if (!mapped.every(Boolean)) {
    return found(
      "lacks",
      `no range for ${host.user} in /etc/subuid and /etc/subgid`,
      `as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${host.user}`,
    );
  }
  if ((await host.findCommand("newuidmap")) === undefined)
    return found("lacks", "newuidmap not found", "apt-get install uidmap");
  if (await host.succeeds("unshare", ["--user", "--map-root-user", "--map-auto", "--mount", "--net", "true"])) {
    return found("ok", `user namespaces of ${host.user}`);
  }
  return found(
    "lacks",
    "this user may not make user namespaces",
    "as root: sysctl kernel.unprivileged_userns_clone=1 (Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0), or run kubedos as root",
  );
}

/** Lines are `user:first:count`; the user may be given by name or number (subuid(5)). */
async function hasSubordinateIds(host: HostProbe, file: string): Promise<boolean> {
  const text = (await host.text(file)) ?? "";
  return text.split("\n").some((line) => line.startsWith(`${host.user}:`) && Number(line.split(":")[2]) >= 65_536);
}

async function examineDisk(host: HostProbe, directory: string): Promise<Finding> {
  const free = await host.freeBytes(directory);
  const detail = `${formatBytes(free)} free for ${directory}`;
  if (free >= buildDiskBytes) return { purpose: "build", what: "disk", state: "ok", detail };
  return {
    purpose: "build",
    what: "disk",
    state: "lacks",
    detail,
    hint: `a first build takes up to ${formatBytes(buildDiskBytes)}: free some, or set KUBEDOS_CACHE to a larger disk`,
  };
}

/** The very list by which `up` decides whether it can start. */
async function examineMachines(host: HostProbe): Promise<Finding[]> {
  const requirements = await examineRequirements(host);
  return requirements.map(({ purpose, what, met, detail, hint }) => {
    return { purpose, what, state: met ? "ok" : "lacks", detail, hint: met ? undefined : hint };
  });
}

async function examineKvm(host: HostProbe): Promise<Finding> {
  const path = "/dev/kvm";
  if (await host.writable(path)) {
    return {
      purpose: "qemu",
      what: path,
      state: "ok",
      detail: "can be opened; `up` tries it with a small guest before it relies on it",
    };
  }
  return { purpose: "qemu", what: path, state: "note", detail: "not usable: machines are emulated and boot slowly" };
}

async function examineMemory(host: HostProbe): Promise<Finding> {
  const detail = formatBytes(host.memoryBytes);
  if (host.memoryBytes >= labMemoryBytes) return { purpose: "qemu", what: "memory", state: "ok", detail };
  return { purpose: "qemu", what: "memory", state: "note", detail: `${detail}: little for a lab of three machines` };
}

async function examineRoot(host: HostProbe): Promise<Finding> {
  if (host.root) return { purpose: "nspawn", what: "root", state: "ok", detail: "running as root" };
  return { purpose: "nspawn", what: "root", state: "note", detail: "the nspawn substrate needs root; qemu does not" };
}

/** The findings as a table, and below it what to do about each thing that is missing. */
export function describeFindings(findings: readonly Finding[], paint: Paint): string {
  const rows = findings.map(({ purpose, what, state, detail }) => [purpose, what, state, detail]);
  const table = formatTable(["FOR", "WHAT", "STATE", "DETAIL"], rows);
  const lacking = findings.filter((one) => one.state === "lacks");
  if (lacking.length === 0) return `${table}\n\n${paint.green("nothing is missing")}`;
  const todo = lacking.map((one) => `  ${one.what}: ${one.hint ?? one.detail}`);
  return `${table}\n\n${paint.red(`${count(lacking.length, "thing")} missing:`)}\n${todo.join("\n")}`;
}

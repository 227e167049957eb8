import type { HostProbe } from "../host/probe.ts";
import type { SubstrateName } from "../spec/types.ts";

/** What a requirement is for: machines of a substrate, or the operator's way in to those of any. */
export type RequirementPurpose = SubstrateName | "access";

/** One thing that the host must have, looked at. `hint` says how to get it. */
export interface Requirement {
  purpose: RequirementPurpose;
  what: string;
  met: boolean;
  detail: string;
  hint: string;
}

const tunDevice = "/dev/net/tun";

/** Commands with the Debian package that brings each. `missing()` of the substrates and `doctor` both read this list. */
const commands: Record<RequirementPurpose, Record<string, string>> = {
  qemu: {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    swtpm: "swtpm",
  },
  nspawn: { "systemd-nspawn": "systemd-container" },
  access: {
    ip: "iproute2",
    unshare: "util-linux",
    nsenter: "util-linux",
    ssh: "openssh-client",
    "ssh-agent": "openssh-client",
    "ssh-add": "openssh-client",
    wg: "wireguard-tools",
  },
};

/** Everything that machines and the operator's peer need of the host. Nothing is changed. */
export async function examineRequirements(host: HostProbe): Promise<Requirement[]> {
  const tools = Object.entries(commands).flatMap(([purpose, list]) =>
    Object.entries(list).map(([command, from]) => examineCommand(host, purpose as RequirementPurpose, command, from)),
  );
  return Promise.all([...tools, examineWireguard(host), examineTun(host)]);
}

/** What the host lacks for machines of a substrate and the way in to them; empty: ready. */
export async function missingFor(host: HostProbe, substrate: SubstrateName): Promise<{ what: string; hint: string }[]> {
  const all = await examineRequirements(host);
  return all
    .filter(({ purpose, met }) => !met && (purpose === substrate || purpose === "access"))
    .map(({ what, detail, hint }) => ({ what: `${what}: ${detail}`, hint }));
}

async function examineCommand(
  host: HostProbe,
  purpose: RequirementPurpose,
  command: string,
  debianPackage: string,
): Promise<Requirement> {
  const path = await host.findCommand(command);
  const hint = `apt-get install ${debianPackage}`;
  return { purpose, what: command, met: path !== undefined, detail: path ?? "not found", hint };
}

/** The kernel's WireGuard (loaded, built in, or a module that can be loaded), else wireguard-go. */
async function examineWireguard(host: HostProbe): Promise<Requirement> {
  const found = { purpose: "access", what: "WireGuard", hint: "apt-get install wireguard-go" } as const;
  if (await hasKernelWireguard(host)) return { ...found, met: true, detail: "the kernel's" };
  const path = await host.findCommand("wireguard-go");
  return { ...found, met: path !== undefined, detail: path ?? "neither in the kernel nor as wireguard-go" };
}

/** Whether the host's kernel has WireGuard, or can load it. */
export async function hasKernelWireguard(host: HostProbe): Promise<boolean> {
  return (
    (await host.readable("/sys/module/wireguard")) ||
    (await host.succeeds("modprobe", ["--dry-run", "--quiet", "wireguard"]))
  );
}

/** Guests' network ports, containers and wireguard-go are made with it. Most hosts let every user open it. */
async function examineTun(host: HostProbe): Promise<Requirement> {
  const met = await host.writable(tunDevice);
  const hint = `as root: modprobe tun && chmod 0666 ${tunDevice} (in a container: give it the device)`;
  return {
    purpose: "access",
    what: tunDevice,
    met,
    detail: met ? "can be opened" : "cannot be opened by this user",
    hint,
  };
}

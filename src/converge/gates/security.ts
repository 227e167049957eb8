import type { ListeningSocket } from "../../../shared/agent-api.ts";
import type { LayerNode } from "../../../shared/cluster-layer.ts";
import type { NodeFacts } from "../../../shared/events.ts";
import { outlinePlatform } from "../../features/collect.ts";
import { audit, confinement } from "./confinement.ts";
import { output } from "./shell.ts";
import type { Gate, GateCheck, GateContext } from "./types.ts";

/** `systemd-analyze security`: 0 is nothing exposed, 10 everything. */
const mostExposed = 3.0;
/** Programs that may run with another's rights, because Debian's own packages need it and sudo is ours. */
const setuidAllowed = new Set([
  "/usr/bin/chage",
  "/usr/bin/chfn",
  "/usr/bin/chsh",
  "/usr/bin/dotlockfile",
  "/usr/bin/expiry",
  "/usr/bin/gpasswd",
  "/usr/bin/mount",
  "/usr/bin/newgrp",
  "/usr/bin/passwd",
  "/usr/bin/ssh-agent",
  "/usr/bin/su",
  "/usr/bin/sudo",
  "/usr/bin/umount",
  "/usr/lib/dbus-1.0/dbus-daemon-launch-helper",
  "/usr/lib/openssh/ssh-keysign",
  "/usr/sbin/unix_chkpwd",
]);

/** What `sshd -T` must say. */
const sshSettings = {
  passwordauthentication: "no",
  kbdinteractiveauthentication: "no",
  permitrootlogin: "no",
  permitemptypasswords: "no",
  pubkeyauthentication: "yes",
  x11forwarding: "no",
  allowagentforwarding: "no",
};
/** Algorithms that no modern client needs. */
const weakAlgorithms = /cbc|3des|arcfour|hmac-md5|hmac-sha1|group1-|group14-sha1|ssh-rsa|ssh-dss/;

/**
 * The baseline of docs/security.md, looked at on every node. What belongs to the kernel is looked at where a node has
 * its own; in a container it is the host's, and the check says so.
 */
export const securityGate: Gate = {
  name: "security",
  summary: "logins, listeners, firewall, kernel, set-user-id programs and sandboxes are as the baseline says",
  async run(context) {
    const checks = await Promise.all(
      context.layer.nodes.map(async (node) => {
        const parts = [
          ssh,
          passwords,
          listeners,
          firewall,
          setuid,
          umask,
          sandboxes,
          sysctls,
          kernel,
          confinement,
          audit,
        ];
        const found: GateCheck[] = [];
        // One after the other: sshd lets in only so many at once.
        for (const part of parts) {
          try {
            found.push(...(await part(context, node)));
          } catch (error) {
            context.signal.throwIfAborted();
            found.push({ what: `${node.name}: ${part.name}`, ok: false, evidence: (error as Error).message });
          }
        }
        return found;
      }),
    );
    return checks.flat();
  },
};

async function ssh(context: GateContext, node: LayerNode): Promise<GateCheck[]> {
  const lines = (await output(context, node, ["sudo", "sshd", "-T"])).split("\n");
  const settings = new Map(lines.map((line) => [line.split(" ")[0]!.toLowerCase(), line.slice(line.indexOf(" ") + 1)]));
  const wrong = Object.entries(sshSettings).filter(([name, value]) => settings.get(name) !== value);
  const weak = ["ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms"].filter((name) =>
    weakAlgorithms.test(settings.get(name) ?? "cbc"),
  );
  const users = lines.filter((line) => line.startsWith("allowusers ")).map((line) => line.slice("allowusers ".length));
  return [
    {
      what: `${node.name}: sshd takes keys only, and no root`,
      ok: wrong.length === 0,
      evidence: wrong.map(([name]) => `${name} ${settings.get(name) ?? "unset"}`).join(", ") || "as it should",
    },
    { what: `${node.name}: sshd algorithms`, ok: weak.length === 0, evidence: weak.join(", ") || "modern ones only" },
    { what: `${node.name}: sshd users`, ok: users.length > 0, evidence: users.join(", ") || "everyone" },
  ];
}

async function passwords(context: GateContext, node: LayerNode): Promise<GateCheck[]> {
  const lines = (await output(context, node, ["sudo", "getent", "shadow"])).trim().split("\n");
  const open = lines.map((line) => line.split(":")).filter(([, hash = ""]) => !/^[!*]/.test(hash));
  return [
    {
      what: `${node.name}: no account has a password`,
      ok: lines.length > 5 && open.length === 0,
      evidence: open.map(([name]) => name).join(", ") || `${lines.length} accounts, all locked`,
    },
  ];
}

/** Nothing is bound to the underlay or to every address, but WireGuard and (where asked for) the DHCP client. */
async function listeners({ layer, observer }: GateContext, node: LayerNode): Promise<GateCheck[]> {
  const sockets = (await observer.ask(node.name, { command: "listening" }, 30_000)) as ListeningSocket[];
  const tunnels = new Set(layer.planes.map((plane) => plane.port));
  const wide = sockets.filter(({ protocol, address, port }) => {
    if (protocol === "udp" && (tunnels.has(port) || (port === 68 && layer.underlay.mode === "dhcp"))) return false;
    return address === "0.0.0.0" || address === "::" || address === node.underlay;
  });
  return [
    {
      what: `${node.name}: nothing but WireGuard listens on the underlay`,
      ok: sockets.length > 0 && wide.length === 0,
      evidence:
        wide
          .map(({ protocol, address, port, process }) => `${process ?? "?"} ${protocol} ${address}:${port}`)
          .join(", ") || `${sockets.length} sockets`,
    },
  ];
}

async function firewall(context: GateContext, node: LayerNode): Promise<GateCheck[]> {
  const chains = ["input", "forward"];
  return Promise.all(
    chains.map(async (name) => {
      const text = await output(context, node, ["sudo", "nft", "list", "chain", "inet", "kubedos", name]);
      const denies = /policy drop;/.test(text);
      return {
        what: `${node.name}: ${name} is denied by default`,
        ok: denies,
        evidence: denies ? "policy drop" : text,
      };
    }),
  );
}

async function setuid(context: GateContext, node: LayerNode): Promise<GateCheck[]> {
  const command = ["sudo", "find", "/usr", "/etc", "/var", "/home", "-xdev", "-type", "f", "-perm", "/6000"];
  const found = (await output(context, node, command)).split("\n").filter(Boolean);
  const surprises = found.filter((path) => !setuidAllowed.has(path));
  return [
    {
      what: `${node.name}: no unknown set-user-id program`,
      ok: found.length > 0 && surprises.length === 0,
      evidence: surprises.join(", ") || `${found.length}, all known`,
    },
  ];
}

async function umask(context: GateContext, node: LayerNode): Promise<GateCheck[]> {
  const value = (await output(context, node, ["bash", "--login", "-c", "umask"])).trim();
  const core = (await output(context, node, ["bash", "--login", "-c", "ulimit -c"])).trim();
  return [
    { what: `${node.name}: umask of a login`, ok: /^0?0[2367]7$/.test(value), evidence: value },
    { what: `${node.name}: no core dumps of a login`, ok: core === "0", evidence: `at most ${core} blocks` },
  ];
}

async function sandboxes(context: GateContext, node: LayerNode): Promise<GateCheck[]> {
  // Without names systemd-analyze leaves out what ends by itself, and that runs as root too.
  const list = ["systemctl", "list-units", "--type=service", "--state=active", "--plain", "--no-legend", "kubedos-*"];
  const own = (await output(context, node, list)).split("\n").flatMap((line) => line.split(" ")[0] || []);
  if (own.length === 0) return [{ what: `${node.name}: own units`, ok: false, evidence: "none is active" }];
  const text = await output(context, node, ["systemd-analyze", "security", "--no-pager", ...own]);
  const units = own.map((unit) => {
    const line = text.split("\n").find((candidate) => candidate.includes(`exposure level for ${unit}:`));
    return { unit, exposure: Number(/: (\d+\.\d)/.exec(line ?? "")?.[1] ?? Number.NaN) };
  });
  const loose = units.filter(({ exposure }) => !(exposure <= mostExposed));
  return [
    {
      what: `${node.name}: own units are sandboxed (at most ${mostExposed.toFixed(1)})`,
      ok: loose.length === 0,
      evidence: (loose.length > 0 ? loose : units).map(({ unit, exposure }) => `${unit} ${exposure}`).join(", "),
    },
  ];
}

async function sysctls(context: GateContext, node: LayerNode): Promise<GateCheck[]> {
  const all = Object.entries(outlinePlatform(context.spec).sysctls);
  // A container has a network of its own and the host's kernel for the rest.
  const wanted = context.sealedSubstrate ? all : all.filter(([name]) => containerSysctl.test(name));
  const names = wanted.map(([name]) => name);
  const text = await output(context, node, ["sudo", "sysctl", "--ignore", ...names]);
  const seen = new Map(text.split("\n").map((line) => line.split(" = ") as [string, string]));
  const wrong = wanted.filter(([name, value]) => seen.get(name) !== value);
  return [
    {
      what: `${node.name}: kernel settings${context.sealedSubstrate ? "" : " of the network (the others are the host's)"}`,
      ok: wanted.length > 0 && wrong.length === 0,
      evidence:
        wrong.map(([name, value]) => `${name} is ${seen.get(name) ?? "not there"}, not ${value}`).join(", ") ||
        `${wanted.length} as they should be`,
    },
  ];
}

/** Settings that are per network namespace and that nspawn lets a container change. */
const containerSysctl = /^net\.ipv4\.conf\.all\.(accept_redirects|accept_source_route|send_redirects)$/;

async function kernel(context: GateContext, node: LayerNode): Promise<GateCheck[]> {
  if (!context.sealedSubstrate) return [];
  const facts = (await context.observer.ask(node.name, { command: "facts" }, 30_000)) as NodeFacts;
  const modules = (await output(context, node, ["cat", "/proc/sys/kernel/modules_disabled"])).trim();
  const apparmor = (await output(context, node, ["cat", "/sys/module/apparmor/parameters/enabled"])).trim();
  const { lockModules, usbStorage } = context.spec.platform.security;
  const loaded = await output(context, node, ["cat", "/proc/modules"]);
  return [
    {
      what: `${node.name}: kernel lockdown`,
      ok: facts.lockdown === "integrity" || facts.lockdown === "confidentiality",
      evidence: facts.lockdown ?? "could not be read",
    },
    { what: `${node.name}: AppArmor`, ok: apparmor === "Y", evidence: apparmor === "Y" ? "on" : "off" },
    ...(lockModules
      ? [
          {
            what: `${node.name}: no module is loaded any more`,
            ok: modules === "1",
            evidence: `modules_disabled ${modules}`,
          },
        ]
      : []),
    ...(usbStorage ? [] : [await noUsbStorage(context, node, loaded)]),
  ];
}

/** Neither loaded, by the initrd or later, nor to be loaded by whoever asks: a stick that is plugged in stays unread. */
async function noUsbStorage(context: GateContext, node: LayerNode, loaded: string): Promise<GateCheck> {
  const rules = (await output(context, node, ["sudo", "modprobe", "--showconfig"])).split("\n");
  const open = ["usb_storage", "uas"].flatMap((name) => [
    ...(new RegExp(`^${name} `, "m").test(loaded) ? [`${name} is loaded`] : []),
    ...(rules.includes(`install ${name} /bin/false`) ? [] : [`${name} can be loaded`]),
  ]);
  return {
    what: `${node.name}: no USB storage`,
    ok: open.length === 0,
    evidence: open.join(", ") || "usb_storage and uas are not loaded, and asking for them runs /bin/false",
  };
}

import { describe, expect, it } from "vitest";
import { examineHost } from "../cli/doctor.ts";
import type { HostProbe } from "../host/probe.ts";
import { substrateNames } from "../spec/types.ts";
import { missingFor } from "./requirements.ts";

/** A fake host that has everything but what is named. */
function fakeHost(lacks: { commands?: string[]; kernelWireguard?: boolean; tun?: boolean } = {}): HostProbe {
  const { commands = [], kernelWireguard = true, tun = true } = lacks;
  return {
    root: true,
    user: "ada",
    nodeVersion: "v20.19.2",
    memoryBytes: 16e9,
    findCommand: async (name) => (commands.includes(name) ? undefined : `/usr/bin/${name}`),
    readable: async (path) => path !== "/sys/module/wireguard" || kernelWireguard,
    writable: async (path) => path !== "/dev/net/tun" || tun,
    text: async () => undefined,
    freeBytes: async () => 100e9,
    succeeds: async (command) => command !== "modprobe" || kernelWireguard,
  };
}

describe.each(substrateNames)("what a host lacks for %s", (name) => {
  it("is nothing on a complete host, with WireGuard in the kernel or without", async () => {
    expect(await missingFor(fakeHost(), name)).toEqual([]);
    expect(await missingFor(fakeHost({ kernelWireguard: false }), name)).toEqual([]);
    expect(await missingFor(fakeHost({ commands: ["wireguard-go"] }), name)).toEqual([]);
  });

  it.each([
    ["ssh", "openssh-client"],
    ["ssh-agent", "openssh-client"],
    ["wg", "wireguard-tools"],
    ["nsenter", "util-linux"],
    ["ip", "iproute2"],
  ])("names %s with its package %s", async (command, from) => {
    expect(await missingFor(fakeHost({ commands: [command] }), name)).toEqual([
      { what: `${command}: not found`, hint: `apt-get install ${from}` },
    ]);
  });

  it("names wireguard-go where the kernel has no WireGuard", async () => {
    expect(await missingFor(fakeHost({ commands: ["wireguard-go"], kernelWireguard: false }), name)).toEqual([
      { what: expect.stringContaining("WireGuard"), hint: "apt-get install wireguard-go" },
    ]);
  });

  it("says that /dev/net/tun cannot be opened by this user", async () => {
    expect(await missingFor(fakeHost({ tun: false }), name)).toEqual([
      { what: "/dev/net/tun: cannot be opened by this user", hint: expect.stringContaining("chmod 0666") },
    ]);
  });

  it("is all in what doctor says", async () => {
    const host = fakeHost({
      commands: ["swtpm", "systemd-nspawn", "wg", "wireguard-go"],
      kernelWireguard: false,
      tun: false,
    });
    const hints = (await examineHost(host, "/cache")).filter(({ state }) => state === "lacks").map(({ hint }) => hint);
    const missing = await missingFor(host, name);
    expect(missing).toHaveLength(4);
    for (const { hint } of missing) expect(hints).toContain(hint);
  });
});

it("a tool of one substrate is no matter of the other", async () => {
  const host = fakeHost({ commands: ["swtpm", "systemd-nspawn"] });
  expect((await missingFor(host, "qemu")).map(({ what }) => what)).toEqual(["swtpm: not found"]);
  expect((await missingFor(host, "nspawn")).map(({ what }) => what)).toEqual(["systemd-nspawn: not found"]);
});

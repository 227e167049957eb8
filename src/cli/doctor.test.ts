import { expect, test } from "vitest";
import type { HostProbe } from "../host/probe.ts";
import { describeFindings, examineHost } from "./doctor.ts";
import { paintWith } from "./format.ts";

/** A fake host on which everything is there; `changes` takes things away. */
function fakeHost(changes: Partial<HostProbe> = {}): HostProbe {
  return {
    root: true,
    user: "ada",
    nodeVersion: "v20.19.2",
    memoryBytes: 16e9,
    findCommand: async (name) => `/usr/bin/${name}`,
    readable: async () => true,
    writable: async () => true,
    text: async () => "ada:100000:65536\n",
    freeBytes: async () => 100e9,
    succeeds: async () => true,
    ...changes,
  };
}

async function lacking(changes: Partial<HostProbe>): Promise<Record<string, string | undefined>> {
  const findings = await examineHost(fakeHost(changes), "/cache");
  return Object.fromEntries(findings.filter((one) => one.state === "lacks").map((one) => [one.what, one.hint]));
}

test("nothing is missing on a complete host, with root and without", async () => {
  expect(await lacking({})).toEqual({});
  expect(await lacking({ root: false })).toEqual({});
  expect(describeFindings(await examineHost(fakeHost(), "/cache"), paintWith(false))).toContain("nothing is missing");
});

test("a missing command names its Debian package", async () => {
  expect(await lacking({ findCommand: async (name) => (name === "swtpm" ? undefined : name) })).toEqual({
    swtpm: "apt-get install swtpm",
  });
});

test("without root: no range of subordinate ids, too small a range, or forbidden namespaces", async () => {
  for (const text of ["", "bob:100000:65536\n", "ada:100000:10\n"]) {
    expect((await lacking({ root: false, text: async () => text }))["namespaces"]).toContain("usermod --add-subuids");
  }
  expect((await lacking({ root: false, succeeds: async () => false }))["namespaces"]).toContain("sysctl");
});

test("an old Node, a full disk, no keyring, no tun device", async () => {
  expect(Object.keys(await lacking({ nodeVersion: "v18.20.4" }))).toEqual(["node"]);
  expect(Object.keys(await lacking({ freeBytes: async () => 1e9 }))).toEqual(["disk"]);
  expect(Object.keys(await lacking({ readable: async () => false }))).toEqual(["Debian's archive keys"]);
  expect(Object.keys(await lacking({ writable: async (path) => path === "/dev/kvm" }))).toEqual(["/dev/net/tun"]);
});

test("no KVM and little memory are worth a note, not an error", async () => {
  const findings = await examineHost(
    fakeHost({ writable: async (path) => path !== "/dev/kvm", memoryBytes: 2e9 }),
    "/cache",
  );
  expect(findings.filter((one) => one.state === "note").map((one) => one.what)).toEqual(["/dev/kvm", "memory"]);
  expect(findings.some((one) => one.state === "lacks")).toBe(false);
});

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { run } from "../host/run.ts";
import { dnsmasqConfig, readDnsmasqLine, type AddressMode } from "./dnsmasq.ts";
import { networkCards } from "./machines.ts";

const modes: AddressMode[] = [
  { kind: "dhcp", first: "10.77.0.50", last: "10.77.0.90", mask: "255.255.255.0" },
  { kind: "proxy", network: "10.77.0.0" },
];

function config(mode: AddressMode, efi = "boot.efi"): string {
  return dnsmasqConfig({
    interface: "eth1",
    mode,
    macs: ["52:54:00:77:00:01"],
    tftpRoot: "/tmp",
    leaseFile: "/tmp/leases",
    efi,
    url: "http://10.77.0.1:8080",
  });
}

test.each(modes)("dnsmasq takes the configuration: $kind", async (mode) => {
  const directory = await mkdtemp(join(tmpdir(), "kd-dnsmasq-"));
  try {
    const file = join(directory, "conf");
    await writeFile(file, config(mode));
    expect((await run("dnsmasq", ["--test", `--conf-file=${file}`])).stderr).toContain("syntax check OK");
  } finally {
    await rm(directory, { recursive: true });
  }
});

test.each(modes)("only cards that are named are answered: $kind", (mode) => {
  const lines = config(mode).split("\n");
  expect(lines).toContain("dhcp-ignore=tag:!known");
  expect(lines.filter((line) => line.startsWith("dhcp-host="))).toEqual(["dhcp-host=52:54:00:77:00:01,set:known"]);
  expect(lines.some((line) => line.startsWith("dhcp-option-force"))).toBe(mode.kind === "dhcp");
});

test.each(modes)("UEFI starts the shim where there is one, everything else as without: $kind", (mode) => {
  const [without, with_] = [config(mode), config(mode, "shimx64.efi")].map((text) => text.split("\n"));
  const changed = with_!.filter((line, index) => line !== without![index]);
  expect(changed).toHaveLength(2);
  for (const line of changed) {
    expect(line).toMatch(/^(dhcp-boot=tag:!ipxe,tag:(efi|http)|pxe-service=.*EFI),.*shimx64\.efi$/);
  }
});

test.each([
  ["dnsmasq-dhcp: 1526 DHCPDISCOVER(kd0) 52:54:00:77:00:99 ignored", { kind: "ignored", mac: "52:54:00:77:00:99" }],
  [
    "dnsmasq-dhcp: 1526 DHCPDISCOVER(kd0) 10.77.0.51 52:54:00:77:00:99 ignored",
    { kind: "ignored", mac: "52:54:00:77:00:99" },
  ],
  ["dnsmasq-dhcp: 1526 PXE(kd0) 52:54:00:77:00:99 proxy-ignored", { kind: "ignored", mac: "52:54:00:77:00:99" }],
  [
    "dnsmasq-dhcp: 1526 DHCPACK(kd0) 10.77.0.86 52:54:00:77:00:02",
    { kind: "lease", mac: "52:54:00:77:00:02", address: "10.77.0.86" },
  ],
  [
    "dnsmasq-tftp: sent /tmp/x/boot.efi to 10.77.0.86",
    { kind: "sent", file: "/tmp/x/boot.efi", address: "10.77.0.86" },
  ],
  ["dnsmasq-dhcp: 1526 available DHCP range: 10.77.0.50 -- 10.77.0.90", undefined],
  ["dnsmasq-dhcp: 1526 DHCPOFFER(kd0) 10.77.0.86 52:54:00:77:00:02", undefined],
])("%s", (line, note) => expect(readDnsmasqLine(line)).toEqual(note));

test("network cards of the artifact, with their nodes; what else is known of machines is of no use here", () => {
  const hardware = "a mac 52:54:00:77:00:01\nb serial X1\nb mac 52:54:00:77:00:02\n";
  expect([...networkCards(hardware)]).toEqual([
    ["52:54:00:77:00:01", "a"],
    ["52:54:00:77:00:02", "b"],
  ]);
});

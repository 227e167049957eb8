/** How the machines of a network get addresses. */
export type AddressMode =
  | { kind: "dhcp"; first: string; last: string; mask: string }
  /** Another server gives them; this one only says what to start (proxy DHCP, PXE specification 2.1). */
  | { kind: "proxy"; network: string };

export interface DnsmasqOptions {
  interface: string;
  mode: AddressMode;
  /** Network cards that are answered, lower case; all others are left alone. */
  macs: readonly string[];
  /** Directory of what is served by TFTP. */
  tftpRoot: string;
  leaseFile: string;
  /** What firmware of UEFI starts: a file of that directory, and of what is served by HTTP. */
  efi: string;
  /** Base of what is served by HTTP, without a slash at its end. */
  url: string;
}

/** Processor architectures that a machine's firmware names (RFC 4578, option 93, and its IANA registry). */
const architectures = { bios: [0], efi: [7, 9], http: [16] } as const;

/**
 * Configuration of dnsmasq as DHCP (or proxy DHCP) and TFTP server; no DNS. Firmware gets `efi` (UEFI, by TFTP
 * or HTTP) or iPXE (BIOS), iPXE its script, and the image writer, which is no firmware, the URL to ask at.
 */
export function dnsmasqConfig({ interface: card, mode, macs, tftpRoot, leaseFile, efi, url }: DnsmasqOptions): string {
  const matches = Object.entries(architectures).flatMap(([tag, numbers]) =>
    numbers.map((number) => `dhcp-match=set:${tag},option:client-arch,${number}`),
  );
  const boot =
    mode.kind === "dhcp"
      ? [
          `dhcp-range=${mode.first},${mode.last},${mode.mask},1h`,
          "dhcp-authoritative",
          "dhcp-option-force=tag:http,60,HTTPClient",
          `dhcp-boot=tag:ipxe,${url}/boot.ipxe`,
          `dhcp-boot=tag:!ipxe,tag:efi,${efi}`,
          `dhcp-boot=tag:!ipxe,tag:http,${url}/${efi}`,
          "dhcp-boot=tag:!ipxe,tag:bios,undionly.kpxe",
          `dhcp-boot=tag:!ipxe,tag:!efi,tag:!http,tag:!bios,${url}/`,
        ]
      : [
          `dhcp-range=${mode.network},proxy`,
          // Without the server's address iPXE takes an offer for one that says nothing.
          `dhcp-boot=tag:ipxe,${url}/boot.ipxe,,${new URL(url).hostname}`,
          "pxe-prompt=tag:!ipxe,kubedos,0",
          "pxe-service=tag:!ipxe,x86PC,kubedos,undionly.kpxe",
          `pxe-service=tag:!ipxe,X86-64_EFI,kubedos,${efi}`,
          `pxe-service=tag:!ipxe,BC_EFI,kubedos,${efi}`,
        ];
  const lines = [
    "port=0",
    `interface=${card}`,
    "bind-interfaces",
    "log-dhcp",
    ...macs.map((mac) => `dhcp-host=${mac},set:known`),
    "dhcp-ignore=tag:!known",
    "dhcp-match=set:ipxe,175",
    ...matches,
    ...boot,
    "enable-tftp",
    `tftp-root=${tftpRoot}`,
    `dhcp-leasefile=${leaseFile}`,
  ];
  return `${lines.join("\n")}\n`;
}

/** What a line of dnsmasq's log says, where it is something for people. */
export type DnsmasqNote =
  | { kind: "ignored"; mac: string }
  | { kind: "lease"; mac: string; address: string }
  | { kind: "sent"; file: string; address: string };

const mac = String.raw`((?:[0-9a-f]{2}:){5}[0-9a-f]{2})`;
const address = String.raw`(\d{1,3}(?:\.\d{1,3}){3})`;
const ignored = new RegExp(String.raw`(?:DHCPDISCOVER|DHCPREQUEST|PXE)\(\S+\) (?:${address} )?${mac}.*[ -]ignored`);
const lease = new RegExp(String.raw`DHCPACK\(\S+\) ${address} ${mac}`);
const sent = new RegExp(String.raw`dnsmasq-tftp(?:\[\d+\])?: sent (\S+) to ${address}`);

/** Reads one line of dnsmasq's log (with `log-dhcp`). */
export function readDnsmasqLine(line: string): DnsmasqNote | undefined {
  const ignoring = ignored.exec(line);
  if (ignoring !== null) return { kind: "ignored", mac: ignoring[2]! };
  const leasing = lease.exec(line);
  if (leasing !== null) return { kind: "lease", address: leasing[1]!, mac: leasing[2]! };
  const sending = sent.exec(line);
  if (sending !== null) return { kind: "sent", file: sending[1]!, address: sending[2]! };
  return undefined;
}

import { KubedosError } from "../error.ts";

/**
 * IPv4 arithmetic on plain numbers, for loops over thousands of nodes. Addresses are unsigned 32-bit integers.
 */

/** An IPv4 network. `size` is its number of addresses. */
export interface Network {
  base: number;
  prefix: number;
  size: number;
}

/** @throws KubedosError (code `spec`) when the text is not four decimal numbers from 0 to 255 */
export function parseAddress(text: string): number {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (parts === null) throw notAn("IPv4 address", text);
  let value = 0;
  for (let i = 1; i <= 4; i++) {
    const part = Number(parts[i]);
    if (part > 255) throw notAn("IPv4 address", text);
    value = value * 256 + part;
  }
  return value;
}

/** Dotted form of an address. */
export function formatAddress(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** @throws KubedosError (code `spec`) when the text is not `address/prefix` or has host bits set */
export function parseNetwork(cidr: string): Network {
  const slash = cidr.indexOf("/");
  const length = cidr.slice(slash + 1);
  const prefix = /^\d{1,2}$/.test(length) ? Number(length) : 33;
  if (slash < 0 || prefix > 32) throw notAn("IPv4 network", cidr);
  const base = parseAddress(cidr.slice(0, slash));
  const size = 2 ** (32 - prefix);
  if (base % size !== 0) throw notAn("IPv4 network without host bits", cidr);
  return { base, prefix, size };
}

/** Sorted addresses and ranges (`a` or `a-b`) that cover exactly the given addresses, as nftables writes them. */
export function toRanges(addresses: readonly number[]): string[] {
  const sorted = [...new Set(addresses)].toSorted((a, b) => a - b);
  const ranges: string[] = [];
  let from = 0;
  for (let i = 0; i < sorted.length; i++) {
    if (i + 1 < sorted.length && sorted[i + 1] === sorted[i]! + 1) continue;
    const first = formatAddress(sorted[from]!);
    ranges.push(from === i ? first : `${first}-${formatAddress(sorted[i]!)}`);
    from = i + 1;
  }
  return ranges;
}

function notAn(what: string, text: string): KubedosError {
  return new KubedosError("spec", `not an ${what}: ${JSON.stringify(text)}`, { hint: "write it like 10.20.0.0/24" });
}

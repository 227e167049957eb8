/** An IPv4 network. Addresses are numbers from 0 to 2³²−1, so that 10,000 nodes are cheap to check. */
export interface Ipv4Network {
  /** Network address: the first of the range. */
  first: number;
  /** Broadcast address: the last of the range. */
  last: number;
  prefix: number;
  /** The address as written; differs from `first` where host bits are set. */
  written: number;
}

/** Dotted quad → number; undefined where it is none (leading zeros are refused: some tools read them as octal). */
export function parseIpv4(text: string): number | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  let address = 0;
  for (const part of match.slice(1)) {
    if (Number(part) > 255 || (part.length > 1 && part.startsWith("0"))) return undefined;
    address = address * 256 + Number(part);
  }
  return address;
}

/** Number → dotted quad. */
export function formatIpv4(address: number): string {
  return `${Math.floor(address / 2 ** 24)}.${Math.floor(address / 2 ** 16) % 256}.${Math.floor(address / 256) % 256}.${address % 256}`;
}

/** `a.b.c.d/prefix` → network; undefined where it is none. Host bits may be set (see `written`). */
export function parseIpv4Network(text: string): Ipv4Network | undefined {
  const match = /^([\d.]+)\/(\d{1,2})$/.exec(text);
  const written = match === null ? undefined : parseIpv4(match[1]!);
  const prefix = Number(match?.[2]);
  if (written === undefined || prefix > 32) return undefined;
  return networkOf(written, prefix);
}

/** The network of a given size that holds an address. */
export function networkOf(address: number, prefix: number): Ipv4Network {
  const size = 2 ** (32 - prefix);
  const first = Math.floor(address / size) * size;
  return { first, last: first + size - 1, prefix, written: address };
}

export function formatIpv4Network(network: Pick<Ipv4Network, "first" | "prefix">): string {
  return `${formatIpv4(network.first)}/${network.prefix}`;
}

/** Whether an address is in the network and is neither its network nor its broadcast address. */
export function isHostAddress(network: Ipv4Network, address: number): boolean {
  return address > network.first && address < network.last;
}

/** The longest prefix (smallest network) whose last usable address is at least network + `offset`. */
export function prefixFor(offset: number): number {
  return 32 - Math.ceil(Math.log2(offset + 2));
}

/** The plane whose network holds an address; undefined where none does or it is no address. */
export function planeOfAddress<P extends { cidr: string }>(planes: readonly P[], address: string): P | undefined {
  const value = parseIpv4(address);
  return planes.find((plane) => {
    const network = parseIpv4Network(plane.cidr);
    return value !== undefined && network !== undefined && isHostAddress(network, value);
  });
}

import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import type { RunContext } from "../host/context.ts";
import { serveFiles, type Served, type ServedRequest } from "../host/file-server.ts";
import { run } from "../host/run.ts";
import { requireTools } from "../host/tools.ts";
import { formatIpv4, isHostAddress, networkOf, parseIpv4, type Ipv4Network } from "../spec/ipv4.ts";
import { dnsmasqConfig, readDnsmasqLine, type AddressMode } from "./dnsmasq.ts";
import { networkCards } from "./machines.ts";

export interface ServeRequest {
  /** Artifact of the target netboot. */
  artifact: string;
  interface: string;
  /** Addresses to give, `FIRST-LAST`; undefined: proxy DHCP beside the network's own server. */
  range?: string;
  port: number;
  /** The nodes' seeds, sealed (media/seeds.ts). */
  seeds?: Uint8Array;
}

/** What a server did, by network card. */
export interface ServeResult {
  /** Nodes whose machine has said that it is installed. */
  installed: string[];
  /** Network cards that asked and are in no node's `hardware.mac`. */
  leftAlone: string[];
}

/**
 * Serves one artifact to the machines that it names until the signal: DHCP or proxy DHCP and TFTP by dnsmasq, HTTP here.
 * Machines that it does not name are listed once and get no answer.
 *
 * @throws KubedosError when the artifact is none, the interface has no address, the range is not in its network, or a
 *   port is taken
 */
export async function serveNetboot(request: ServeRequest, context: RunContext): Promise<ServeResult> {
  const { emit, signal } = context;
  await requireTools({ dnsmasq: "dnsmasq-base", ip: "iproute2", setpriv: "util-linux" });
  const network = await interfaceNetwork(request.interface);
  const mode = addressMode(request.range, network);
  const directory = await mkdtemp(join(tmpdir(), "kubedos-netboot-"));
  try {
    // 1. What is served.
    const cards = await unpack(request.artifact, directory, signal);
    // dnsmasq reads it after it has given up its rights.
    await chmod(directory, 0o755);
    const log = new ServeLog(cards, emit);
    const files = new Map<string, Served>();
    const address = formatIpv4(network.written);
    const http = await serveFiles({ address, port: request.port }, files, (answered) => log.request(answered));
    try {
      const url = `http://${address}:${http.port}`;
      await fill(files, directory, url, request.seeds);
      for (const card of cards.keys()) files.set(`/installed/${card}`, { content: Buffer.from("ok\n") });
      // 2. Who is told where it is.
      const config = join(directory, "dnsmasq.conf");
      const leaseFile = join(directory, "leases");
      const options = {
        interface: request.interface,
        mode,
        macs: [...cards.keys()],
        tftpRoot: directory,
        leaseFile,
        // An artifact made with `trust.shim` holds one.
        efi: files.has("/shimx64.efi") ? "shimx64.efi" : "boot.efi",
        url,
      };
      await writeFile(config, dnsmasqConfig(options));
      const how = mode.kind === "dhcp" ? `addresses ${request.range}` : "proxy DHCP";
      emit({ type: "log", level: "info", message: `serving ${request.artifact} at ${url}, ${how}: ${log.expected()}` });
      await runDnsmasq(config, (line) => log.dnsmasq(line), signal);
      return log.result();
    } finally {
      await http.close();
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** dnsmasq until the signal; it ends with this process, also when that is killed. */
async function runDnsmasq(config: string, onLine: (line: string) => void, signal: AbortSignal): Promise<void> {
  const args = ["--pdeathsig", "KILL", "dnsmasq", "--keep-in-foreground", `--conf-file=${config}`, "--log-facility=-"];
  try {
    await run("setpriv", args, {
      signal,
      onStderrLine: onLine,
      hint: "it needs root, and no other DHCP or TFTP server on that interface",
    });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** Follows what machines do, and says it once each. */
class ServeLog {
  readonly #installed = new Set<string>();
  readonly #leftAlone = new Set<string>();
  readonly #said = new Set<string>();
  /** Network card by address. */
  readonly #cardOf = new Map<string, string>();
  readonly #nodeOf: ReadonlyMap<string, string>;
  readonly #emit: RunContext["emit"];

  constructor(nodeOf: ReadonlyMap<string, string>, emit: RunContext["emit"]) {
    this.#nodeOf = nodeOf;
    this.#emit = emit;
  }

  expected(): string {
    return [...this.#nodeOf].map(([mac, node]) => `${node} (${mac})`).join(", ");
  }

  result(): ServeResult {
    return { installed: [...this.#installed].toSorted(), leftAlone: [...this.#leftAlone].toSorted() };
  }

  dnsmasq(line: string): void {
    const note = readDnsmasqLine(line);
    if (note === undefined) return;
    if (note.kind === "lease") this.#cardOf.set(note.address, note.mac);
    else if (note.kind === "sent") this.#say(`${this.#who(note.address)} has loaded ${note.file.split("/").at(-1)}`);
    else if (!this.#nodeOf.has(note.mac)) {
      this.#leftAlone.add(note.mac);
      this.#say(`${note.mac} asks and is no node's \`hardware.mac\`: left alone`);
    }
  }

  request({ client, path, status, whole }: ServedRequest): void {
    const who = this.#who(client);
    const card = /^\/installed\/(\S+)$/.exec(path)?.[1];
    const node = this.#nodeOf.get(card ?? "");
    if (card !== undefined && node !== undefined) {
      this.#cardOf.set(client, card);
      this.#installed.add(node);
      this.#say(`${node} (${client}) is installed`);
    } else if (status === 200 && whole && path !== "/image.sha256") this.#say(`${who} has loaded ${path.slice(1)}`);
    else if (status === 200 && !whole) this.#say(`${who} broke off ${path.slice(1)}`);
  }

  #who(address: string): string {
    const card = this.#cardOf.get(address);
    const node = this.#nodeOf.get(card ?? "");
    return node === undefined ? address : `${node} (${address})`;
  }

  #say(message: string): void {
    if (this.#said.has(message)) return;
    this.#said.add(message);
    this.#emit({ type: "log", level: "info", message });
  }
}

/** Unpacks the artifact. @returns node by network card */
async function unpack(artifact: string, directory: string, signal: AbortSignal): Promise<Map<string, string>> {
  const hint = "name the file that `kubedos build --target netboot` writes: out/NAME/NAME.netboot.tar";
  await run("tar", ["-xf", artifact, "-C", directory, "--no-same-owner"], { signal, hint });
  const hardware = await readFile(join(directory, "hardware"), "utf8").catch((cause: unknown) => {
    throw new KubedosError("usage", `${artifact} is no netboot artifact`, { hint, cause });
  });
  const cards = networkCards(hardware);
  if (cards.size === 0) {
    throw new KubedosError("usage", `${artifact} names no machine: nobody would be answered`, {
      hint: "write `hardware: { mac: … }` at the nodes of the spec, and build again",
    });
  }
  return cards;
}

async function fill(files: Map<string, Served>, directory: string, url: string, seeds?: Uint8Array): Promise<void> {
  // In the directory itself, for TFTP too.
  for (const name of ["boot.ipxe", "grub.cfg"]) {
    const text = await readFile(join(directory, name), "utf8");
    await writeFile(join(directory, name), text.replaceAll("@SERVER@", url));
  }
  for (const name of await readdir(directory)) files.set(`/${name}`, { file: join(directory, name) });
  if (seeds !== undefined) files.set("/seeds", { content: seeds });
}

/** The first IPv4 address of an interface, with its network. */
async function interfaceNetwork(name: string): Promise<Ipv4Network> {
  const { stdout, status } = await run("ip", ["-json", "-4", "address", "show", "dev", name], { okStatuses: [0, 1] });
  if (status !== 0)
    throw new KubedosError("usage", `there is no network interface ${name}`, { hint: "`ip link` lists them" });
  const [link] = JSON.parse(stdout || "[]") as { addr_info?: { local: string; prefixlen: number }[] }[];
  const [own] = link?.addr_info ?? [];
  const address = parseIpv4(own?.local ?? "");
  if (own !== undefined && address !== undefined) return networkOf(address, own.prefixlen);
  throw new KubedosError("usage", `the interface ${name} has no IPv4 address`, {
    hint: `give it one: \`ip address add 10.99.0.1/24 dev ${name}\``,
  });
}

function addressMode(range: string | undefined, network: Ipv4Network): AddressMode {
  if (range === undefined) return { kind: "proxy", network: formatIpv4(network.first) };
  const [first, last, ...more] = range.split("-").map((text) => parseIpv4(text));
  const fits = (address: number | undefined): address is number =>
    address !== undefined && isHostAddress(network, address) && address !== network.written;
  if (fits(first) && fits(last) && more.length === 0 && first <= last) {
    const mask = formatIpv4(2 ** 32 - 2 ** (32 - network.prefix));
    return { kind: "dhcp", first: formatIpv4(first), last: formatIpv4(last), mask };
  }
  throw new KubedosError("usage", `--range ${range} is not in the interface's network, or no range`, {
    hint: `write FIRST-LAST between ${formatIpv4(network.first + 1)} and ${formatIpv4(network.last - 1)}`,
  });
}

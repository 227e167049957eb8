import { access, readFile } from "node:fs/promises";
import { KubedosError } from "../../shared/error.ts";
import { debianArchives, type ArchiveName } from "./mirrors.ts";
import { proxyEnvironment } from "../host/proxy.ts";
import { cleanEnvironment, run } from "../host/run.ts";

/** What kubedos takes over from the host's own apt: how to reach archives, not what to install from them. */
export interface HostApt {
  /** `Acquire::…` settings (proxies, certificates, retries …), name and value as `apt-config dump` prints them. */
  settings: { name: string; value: string }[];
  /** Absolute paths of auth.conf and auth.conf.d (see apt_auth.conf(5)); they may not exist. */
  credentials: { file: string; directory: string };
  /** Base URLs of Debian's archives among the host's sources, in the host's order. */
  mirrors: Record<ArchiveName, string[]>;
}

/**
 * Settings that describe the way to a server. Everything that weakens a signature check (`AllowInsecure…`,
 * `AllowWeak…`) is left behind on purpose.
 */
const carriedOver =
  /^Acquire::(https?|socks|ftp|tor)(::|$)|^Acquire::(Retries|Queue-Mode|ForceIPv4|ForceIPv6|By-Hash|Check-Valid-Until|Check-Date|Max-ValidTime|Min-ValidTime|Max-FutureTime)(::|$)/i;

/** A host without apt at all (not Debian or Ubuntu): no settings, no mirrors. */
export const noHostApt: HostApt = {
  settings: [],
  credentials: { file: "/etc/apt/auth.conf", directory: "/etc/apt/auth.conf.d" },
  mirrors: { debian: [], "debian-security": [] },
};

/**
 * Reads the host's apt configuration and sources through apt itself, so that every format apt knows is understood.
 *
 * @param listsDirectory an empty directory: with no index there, apt names every file it would fetch
 */
export async function readHostApt(listsDirectory: string, signal?: AbortSignal): Promise<HostApt> {
  if (!(await hasApt())) return noHostApt;
  const env = aptEnvironment();
  const dump = await run("apt-config", ["dump"], { env, signal, timeoutMs: 20_000 });
  const shell = await run("apt-config", ["shell", "FILE", "Dir::Etc::netrc/f", "DIRECTORY", "Dir::Etc::netrcparts/f"], {
    env,
    signal,
    timeoutMs: 20_000,
  });
  // A host with no sources, or with broken ones, is not an error here: platform.mirror may name what to use.
  const uris = await run(
    "apt-get",
    ["update", "--print-uris", "-o", `Dir::State::lists=${listsDirectory}`, "-o", "APT::Sandbox::User=root"],
    { env, signal, timeoutMs: 20_000, okStatuses: [0, 100] },
  );
  return {
    settings: settingsToCarry(dump.stdout),
    credentials: {
      file: shellValue(shell.stdout, "FILE") ?? noHostApt.credentials.file,
      directory: shellValue(shell.stdout, "DIRECTORY") ?? noHostApt.credentials.directory,
    },
    mirrors: await expandMirrorFiles(parseReleaseUris(uris.stdout)),
  };
}

/** The part of `apt-config dump` that kubedos's own apt takes over. */
export function settingsToCarry(dump: string): HostApt["settings"] {
  return parseConfigDump(dump).filter((setting) => carriedOver.test(setting.name));
}

/** Whether this host has apt. */
export async function hasApt(): Promise<boolean> {
  return access("/usr/bin/apt-get").then(
    () => true,
    () => false,
  );
}

/** Environment for apt: clean, plus the operator's proxy variables, which apt reads itself. */
export function aptEnvironment(extra: Record<string, string> = {}): Record<string, string> {
  return cleanEnvironment({ ...proxyEnvironment(), DEBIAN_FRONTEND: "noninteractive", ...extra });
}

/** `Name "value";` lines; list items keep their trailing `::`. */
export function parseConfigDump(text: string): { name: string; value: string }[] {
  return text.split("\n").flatMap((line) => {
    const match = /^(\S+) "(.*)";$/.exec(line);
    return match === null || match[2] === "" ? [] : [{ name: match[1]!, value: match[2]! }];
  });
}

/**
 * Finds Debian's archives in the output of `apt-get update --print-uris`. The suite's name says whose archive it is
 * (`bookworm`, `stable-updates`, `trixie-security` …): before the first `apt-get update` nothing else is known, and
 * the signature check decides in the end.
 */
export function parseReleaseUris(text: string): Record<ArchiveName, string[]> {
  const mirrors: Record<ArchiveName, string[]> = { debian: [], "debian-security": [] };
  for (const match of text.matchAll(/^'([^']+)\/dists\/([^']+?)\/(?:InRelease|Release)' /gm)) {
    const base = withoutMethodPrefix(match[1]!);
    const suite = match[2]!.replace(/\/updates$/, "-security");
    const [, codename, kind = ""] = /^([a-z]+)(-security|-updates|-backports|-proposed-updates)?$/.exec(suite) ?? [];
    if (codename === undefined || !debianCodenames.has(codename)) continue;
    const archive: ArchiveName = kind === "-security" ? "debian-security" : "debian";
    if (!mirrors[archive].includes(base)) mirrors[archive].push(base);
  }
  return mirrors;
}

const debianCodenames = new Set(
  "stretch buster bullseye bookworm trixie forky duke sid oldoldstable oldstable stable testing unstable".split(" "),
);

/** Debian's cloud images name their mirrors in files: `mirror+file:/etc/apt/mirrors/debian.list` (apt-transport-mirror(1)). */
export async function expandMirrorFiles(found: Record<ArchiveName, string[]>): Promise<Record<ArchiveName, string[]>> {
  const expanded: Record<ArchiveName, string[]> = { debian: [], "debian-security": [] };
  for (const archive of debianArchives) {
    for (const base of found[archive]) {
      const file = /^mirror\+file:\/*(\/.*)$/.exec(base)?.[1];
      const text = file === undefined ? base : await readFile(file, "utf8").catch(() => "");
      const urls = text.split("\n").map((line) => withoutMethodPrefix(line.trim().split(/\s+/)[0]!));
      expanded[archive].push(...urls.filter((url) => url !== "" && !url.startsWith("#")));
    }
  }
  return expanded;
}

function withoutMethodPrefix(uri: string): string {
  return uri.replace(/^copy:/, "file:").replace(/\/+$/, "");
}

function shellValue(text: string, name: string): string | undefined {
  return new RegExp(`^${name}='(.*)'$`, "m").exec(text)?.[1];
}

/** Error for a host on which nothing says where Debian's packages are. */
export function noMirrorError(archive: string): KubedosError {
  return new KubedosError(
    "spec",
    `no mirror of the ${archive} archive is known: this host's apt has no Debian source`,
    {
      hint:
        "write one in the spec, for example\n  platform:\n    mirror: [http://deb.debian.org/debian]\n" +
        `(${debianArchives.join(" and ")} are found from it; a local copy is file:///path/to/debian)`,
    },
  );
}

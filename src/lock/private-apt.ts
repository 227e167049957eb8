import { access, mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KubedosError } from "../../shared/error.ts";
import { aptEnvironment, type HostApt } from "./host-apt.ts";

/** A suite to resolve from. */
export interface AptSource {
  archive: string;
  /** One that ends in `/` is the path of a flat repository. */
  suite: string;
  components: readonly string[];
  /** Armored key that must have signed it. Absent: Debian's keyring. */
  key?: string;
}

/** A private apt: own configuration, sources, keys, lists and an empty package database. */
export interface PrivateApt {
  directory: string;
  /** Base URL that is used for each archive. */
  bases: Record<string, string>;
  sources: readonly AptSource[];
}

/** Where Debian's archive keys are on a Debian or Ubuntu host with `debian-archive-keyring`. */
export const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** Writes its configuration, keys and sources, for the mirrors that it is to use now. */
export async function configure(
  { directory, bases, sources }: PrivateApt,
  keyring: string,
  host: HostApt,
): Promise<void> {
  await writeConfiguration(directory, host);
  await writeKeys(directory, sources);
  await writeFile(join(directory, "sources.list"), sourcesList(directory, sources, bases, keyring));
}

function sourcesList(
  directory: string,
  sources: readonly AptSource[],
  bases: Record<string, string>,
  keyring: string,
): string {
  return sources
    .map(({ archive, suite, components, key }) => {
      const signedBy = key === undefined ? keyring : keyFile(directory, archive);
      return `deb [arch=amd64 signed-by=${signedBy}] ${bases[archive]} ${[suite, ...components].join(" ")}\n`;
    })
    .join("");
}

function keyFile(directory: string, archive: string): string {
  return join(directory, `${archive}.asc`);
}

async function writeKeys(directory: string, sources: readonly AptSource[]): Promise<void> {
  for (const { archive, key } of sources) {
    if (key !== undefined) await writeFile(keyFile(directory, archive), key);
  }
}

/** @throws KubedosError when Debian's archive keys are not on this host */
export async function needKeyring(keyring: string): Promise<void> {
  await access(keyring).catch(() => {
    throw new KubedosError("failed", `Debian's archive keys are missing on this host: ${keyring}`, {
      hint: "apt-get install debian-archive-keyring",
    });
  });
}

/** Directories of a private apt; what an interrupted update left in them is removed. */
export async function makeDirectories(directory: string): Promise<void> {
  const parts = ["lists/partial", "lists/auxfiles", "cache/archives/partial", "empty", "log"];
  for (const part of parts) await mkdir(join(directory, part), { recursive: true });
  for (const name of await readdir(join(directory, "lists/partial"))) {
    await rm(join(directory, "lists/partial", name), { force: true }); // of an interrupted update
  }
  await writeFile(join(directory, "status"), "");
}

/** Own `Dir` for everything: no source, preference, key or hook of the host has a say in the result. */
async function writeConfiguration(directory: string, host: HostApt): Promise<void> {
  const settings: [string, string][] = [
    ["Dir", directory],
    ["Dir::Etc", directory],
    ["Dir::Etc::main", "/dev/null"],
    ["Dir::Etc::parts", join(directory, "empty")],
    ["Dir::Etc::preferences", "/dev/null"],
    ["Dir::Etc::preferencesparts", join(directory, "empty")],
    ["Dir::Etc::sourcelist", join(directory, "sources.list")],
    ["Dir::Etc::sourceparts", join(directory, "empty")],
    ["Dir::Etc::trusted", "/dev/null"],
    ["Dir::Etc::trustedparts", join(directory, "empty")],
    ["Dir::Etc::netrc", host.credentials.file],
    ["Dir::Etc::netrcparts", host.credentials.directory],
    ["Dir::Bin::methods", "/usr/lib/apt/methods"],
    ["Dir::Bin::dpkg", "/usr/bin/dpkg"],
    ["Dir::State", directory],
    ["Dir::State::lists", join(directory, "lists")],
    ["Dir::State::status", join(directory, "status")],
    ["Dir::State::extended_states", join(directory, "extended_states")],
    ["Dir::Cache", join(directory, "cache")],
    ["Dir::Log", join(directory, "log")],
    ["APT::Architecture", "amd64"],
    ["APT::Architectures::", "amd64"],
    ["APT::Install-Recommends", "false"],
    ["APT::Install-Suggests", "false"],
    // The private root lies below the caller's home, where the user _apt must not look.
    ["APT::Sandbox::User", "root"],
    // Same solver on every host: apt 3 would take its new one, with other choices among alternatives.
    ["APT::Solver", "internal"],
    ["Acquire::Retries", "1"], // the next mirror comes after it
    ...host.settings.map(({ name, value }): [string, string] => [name, value]),
    ["Acquire::Languages", "none"],
    ["Acquire::AllowInsecureRepositories", "false"],
    ["Acquire::AllowWeakRepositories", "false"],
    ["Acquire::AllowDowngradeToInsecureRepositories", "false"],
    ["Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false"],
  ];
  const text = settings.map(([name, value]) => `${name} "${value}";\n`).join("");
  await writeFile(join(directory, "apt.conf"), text, { mode: 0o600 });
}

/** Environment in which apt's commands use the private apt and nothing of the host's. */
export function privateEnvironment(directory: string): Record<string, string> {
  return aptEnvironment({ APT_CONFIG: join(directory, "apt.conf") });
}

import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { environmentValue } from "./environment.ts";

/** Where this host's pip takes distributions from, and how it reaches them. Absolute paths. */
export interface PipConfig {
  /** Base URLs of indexes (PEP 503), in order. */
  indexes: string[];
  /** Directories, files and pages with links (`find-links`). */
  findLinks: string[];
  proxy?: string;
  /** PEM file of authorities instead of the system's. */
  caFile?: string;
  clientCertificate?: string;
  /** `host` or `host:port` without https or without a checked certificate. */
  trustedHosts: string[];
}

const defaultIndex = "https://pypi.org/simple";

/**
 * Reads pip's configuration as pip does: files from the least to the most particular, then PIP_… variables.
 * https://pip.pypa.io/en/stable/topics/configuration/
 */
export async function readPipConfig(): Promise<PipConfig> {
  const values: Record<string, string> = {};
  for (const file of configFiles()) Object.assign(values, parseIni(await readFile(file, "utf8").catch(() => "")));
  for (const option of ["index-url", "extra-index-url", "find-links", "proxy", "cert", "client-cert", "trusted-host"]) {
    const value = environmentValue(`PIP_${option.toUpperCase().replaceAll("-", "_")}`);
    if (value !== undefined) values[option] = value;
  }
  if (/^(1|true|yes|on)$/i.test(environmentValue("PIP_NO_INDEX") ?? values["no-index"] ?? "")) values["index-url"] = "";
  return pipConfigOf(values);
}

/** The settings that matter, from option names to values; lists are separated by white space. */
export function pipConfigOf(values: Readonly<Record<string, string>>): PipConfig {
  const words = (text: string | undefined) => (text ?? "").split(/\s+/).filter((word) => word !== "");
  return {
    indexes: [...words(values["index-url"] ?? defaultIndex), ...words(values["extra-index-url"])],
    findLinks: words(values["find-links"]).map((place) =>
      place.startsWith("file:") ? fileURLToPath(place) : /^https?:/.test(place) ? place : resolve(expandHome(place)),
    ),
    proxy: values["proxy"],
    caFile: values["cert"] === undefined ? undefined : resolve(expandHome(values["cert"])),
    clientCertificate: values["client-cert"] === undefined ? undefined : resolve(expandHome(values["client-cert"])),
    trustedHosts: words(values["trusted-host"]),
  };
}

/** `[global]`, then `[install]` over it; a value may go on in indented lines. */
export function parseIni(text: string): Record<string, string> {
  const sections: Record<string, Record<string, string>> = {};
  let section = "";
  let key = "";
  for (const line of text.split("\n")) {
    if (/^\s*([#;]|$)/.test(line)) continue;
    const header = /^\[([^\]]+)\]/.exec(line)?.[1];
    const [, name, value] = /^([\w-]+)\s*[=:]\s*(.*)$/.exec(line) ?? [];
    if (header !== undefined) section = header;
    else if (name !== undefined) {
      key = name.toLowerCase().replaceAll("_", "-");
      (sections[section] ??= {})[key] = value!.trim();
    } else if (/^\s/.test(line) && key !== "") sections[section]![key] += ` ${line.trim()}`;
  }
  return { ...sections["global"], ...sections["install"] };
}

function configFiles(): string[] {
  const own = environmentValue("PIP_CONFIG_FILE");
  if (own === "/dev/null") return [];
  const home = homedir();
  const systems = (environmentValue("XDG_CONFIG_DIRS") ?? "/etc/xdg").split(":");
  const user = environmentValue("XDG_CONFIG_HOME") ?? join(home, ".config");
  return [
    ...systems.map((directory) => join(directory, "pip/pip.conf")),
    "/etc/pip.conf",
    join(home, ".pip/pip.conf"),
    join(user, "pip/pip.conf"),
    ...(own === undefined ? [] : [own]),
  ];
}

function expandHome(path: string): string {
  return path.startsWith("~/") ? join(homedir(), path.slice(2)) : path;
}

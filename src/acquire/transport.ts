import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { HttpSettings } from "../host/http.ts";
import { proxyEnvironment } from "../host/proxy.ts";
import { run } from "../host/run.ts";
import { aptEnvironment, type HostApt } from "../lock/host-apt.ts";

/** Reaches servers the way the host's apt does: its proxies, certificates and credentials (apt-transport-http(1)). */
export async function httpSettingsOf(host: HostApt): Promise<HttpSettings> {
  const credentials = await readCredentials(host.credentials);
  const environment = proxyEnvironment();
  const values = new Map(host.settings.map(({ name, value }) => [name.toLowerCase(), value]));
  const detected = new Map<string, Promise<string>>();

  /** `Acquire::https::host::Option`, then `Acquire::https::Option`, then the same of http where apt falls back. */
  function setting(url: URL, option: string, fallBack = false): string | undefined {
    const schemes = url.protocol === "https:" ? (fallBack ? ["https", "http"] : ["https"]) : ["http"];
    for (const scheme of schemes) {
      for (const name of [
        `acquire::${scheme}::${option}::${url.hostname}`,
        `acquire::${scheme}::${url.hostname}::${option}`,
      ]) {
        const value = values.get(name.toLowerCase());
        if (value !== undefined) return value;
      }
    }
    return schemes
      .map((scheme) => values.get(`acquire::${scheme}::${option}`.toLowerCase()))
      .find((value) => value !== undefined);
  }

  return {
    async proxyFor(url) {
      const forHost = setting(url, "Proxy", true);
      const script = setting(url, "Proxy-Auto-Detect", true) ?? setting(url, "ProxyAutoDetect", true);
      let proxy = forHost;
      if (proxy === undefined && script !== undefined) {
        let answer = detected.get(url.origin);
        if (answer === undefined) {
          answer = run(script, [url.href], { env: aptEnvironment(), timeoutMs: 20_000 }).then(({ stdout }) =>
            stdout.trim(),
          );
          detected.set(url.origin, answer);
        }
        proxy = (await answer) || undefined;
      }
      proxy ??= exempt(url, environment["no_proxy"]) ? undefined : environment[`${url.protocol.slice(0, -1)}_proxy`];
      if (proxy === undefined || proxy === "" || proxy === "DIRECT" || proxy === "false") return undefined;
      return new URL(proxy.includes("://") ? proxy : `http://${proxy}`);
    },
    credentialsFor: (url) => matchCredentials(credentials, url),
    certificatesFor(url) {
      return {
        caFile: setting(url, "CaInfo"),
        certificateFile: setting(url, "SslCert"),
        keyFile: setting(url, "SslKey"),
        verify: !["false", "no", "0", "off"].includes((setting(url, "Verify-Peer") ?? "true").toLowerCase()),
      };
    },
  };
}

/** One entry of an auth.conf: `machine [scheme://]host[:port][/path] login USER password PASSWORD`. */
export interface MachineCredentials {
  scheme?: string;
  host: string;
  port?: string;
  path: string;
  user: string;
  password: string;
}

/** Parses netrc-like text, see apt_auth.conf(5). */
export function parseCredentials(text: string): MachineCredentials[] {
  const words = text
    .replaceAll(/^\s*#.*$/gm, "")
    .split(/\s+/)
    .filter((word) => word !== "");
  const found: MachineCredentials[] = [];
  for (let at = 0; at < words.length; at += 2) {
    const value = words[at + 1] ?? "";
    const entry = found.at(-1);
    if (words[at] === "machine") {
      const match = /^(?:([a-z+]+):\/\/)?([^:/]+)(?::(\d+))?(\/.*)?$/.exec(value);
      found.push({
        scheme: match?.[1],
        host: match?.[2] ?? value,
        port: match?.[3],
        path: match?.[4] ?? "",
        user: "",
        password: "",
      });
    } else if (words[at] === "login" && entry !== undefined) entry.user = value;
    else if (words[at] === "password" && entry !== undefined) entry.password = value;
  }
  return found;
}

/** What a URL itself says, or the first entry for it. Without a scheme an entry is for https only: no password goes out in the clear unasked. */
export function matchCredentials(
  entries: readonly MachineCredentials[],
  url: URL,
): { user: string; password: string } | undefined {
  if (url.username !== "") {
    return { user: decodeURIComponent(url.username), password: decodeURIComponent(url.password) };
  }
  const scheme = url.protocol.slice(0, -1);
  return entries.find(
    (entry) =>
      (entry.scheme ?? "https") === scheme &&
      entry.host === url.hostname &&
      (entry.port === undefined || entry.port === url.port) &&
      url.pathname.startsWith(entry.path),
  );
}

async function readCredentials(paths: HostApt["credentials"]): Promise<MachineCredentials[]> {
  const names = (await readdir(paths.directory).catch(() => [])).filter((name) =>
    /^[\w.-]+\.conf$|^[\w-]+$/.test(name),
  );
  const files = [paths.file, ...names.toSorted().map((name) => join(paths.directory, name))];
  const texts = await Promise.all(files.map((file) => readFile(file, "utf8").catch(() => "")));
  return texts.flatMap(parseCredentials);
}

/** `no_proxy`: host names and domain suffixes, separated by commas; `*` for all. */
export function exempt(url: URL, list: string | undefined): boolean {
  return (list ?? "")
    .split(",")
    .map((item) => item.trim().replace(/^\./, ""))
    .some((item) => item === "*" || (item !== "" && (url.hostname === item || url.hostname.endsWith(`.${item}`))));
}

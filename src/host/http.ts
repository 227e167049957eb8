import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { connect as tlsConnect, rootCertificates } from "node:tls";
import { KubedosError } from "../../shared/error.ts";

/** How to reach servers; made from the host's apt configuration, see src/acquire/transport.ts. */
export interface HttpSettings {
  /** Proxy for a URL (`http://[user:password@]host:port`), undefined: go there directly. */
  proxyFor(url: URL): Promise<URL | undefined>;
  credentialsFor(url: URL): { user: string; password: string } | undefined;
  /** PEM files for a server: its authorities, and a client certificate with its key. */
  certificatesFor(url: URL): { caFile?: string; certificateFile?: string; keyFile?: string; verify: boolean };
}

/** Answer of a server whose body has not been read yet. The body must be read or destroyed. */
export interface HttpAnswer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: http.IncomingMessage;
  /** After redirects. */
  url: URL;
}

export interface HttpClient {
  /**
   * GET, following at most 5 redirects. Rejects when nothing arrives for `stallMs`; the body ends with an error then.
   *
   * @throws KubedosError code "failed" with the URL (without credentials) and the reason
   */
  get(
    url: URL,
    options: { headers?: Record<string, string>; stallMs: number; signal: AbortSignal },
  ): Promise<HttpAnswer>;
  /** Closes idle connections. */
  close(): void;
}

const maxRedirects = 5;
const systemCertificates = "/etc/ssl/certs/ca-certificates.crt";

/** A client with kept-alive connections. */
export function createHttpClient(settings: HttpSettings, connections: number): HttpClient {
  const plain = new http.Agent({ keepAlive: true, maxSockets: connections });
  const secure = new Map<string, https.Agent>();

  /** One agent an origin and proxy, because certificates and tunnel belong to the connection. */
  function secureAgent(url: URL, proxy: URL | undefined): https.Agent {
    const key = `${url.origin} ${proxy?.href ?? ""}`;
    const known = secure.get(key);
    if (known !== undefined) return known;
    const tls = tlsOptions(settings, url);
    const agent = new https.Agent({ keepAlive: true, maxSockets: connections, ...tls });
    if (proxy !== undefined) tunnelThrough(agent, proxy, tls);
    secure.set(key, agent);
    return agent;
  }

  async function once(
    url: URL,
    options: { headers?: Record<string, string>; stallMs: number; signal: AbortSignal },
  ): Promise<HttpAnswer> {
    const proxy = await settings.proxyFor(url);
    const headers: Record<string, string> = { "user-agent": "kubedos", accept: "*/*", ...options.headers };
    const credentials = settings.credentialsFor(url);
    if (credentials !== undefined && headers["authorization"] === undefined)
      headers["authorization"] = basic(credentials.user, credentials.password);
    const isSecure = url.protocol === "https:";
    if (proxy !== undefined && !["http:", "https:"].includes(proxy.protocol)) {
      throw new KubedosError("failed", `proxy ${safeUrl(proxy)}: only http proxies are supported for downloads`, {
        hint: "set an http proxy in apt's configuration, or `DIRECT` for this host",
      });
    }
    return new Promise((resolve, reject) => {
      const common = { method: "GET", signal: options.signal, timeout: options.stallMs };
      let request: http.ClientRequest;
      let answered: http.IncomingMessage | undefined;
      if (isSecure) {
        request = https.request(withoutCredentials(url), { ...common, headers, agent: secureAgent(url, proxy) });
      } else if (proxy !== undefined) {
        if (proxy.username !== "") headers["proxy-authorization"] = proxyAuthorization(proxy);
        request = http.request({
          ...common,
          host: hostOf(proxy),
          port: proxy.port || 80,
          path: withoutCredentials(url).href,
          headers: { ...headers, host: url.host },
          agent: plain,
        });
      } else {
        request = http.request(withoutCredentials(url), { ...common, headers, agent: plain });
      }
      const failed = (cause: Error) => {
        if (options.signal.aborted) return reject(options.signal.reason as Error);
        reject(
          new KubedosError("failed", `${safeUrl(url)}: ${cause.message || (cause as NodeJS.ErrnoException).code}`, {
            cause,
          }),
        );
      };
      request.on("timeout", () => {
        (answered ?? request).destroy(new Error(`no data for ${options.stallMs / 1000} s`));
      });
      request.on("error", failed);
      request.on("response", (body) => {
        // The socket's idle timeout stays armed while the body is read, and ends it on a stall.
        answered = body;
        body.on("error", () => undefined);
        resolve({ status: body.statusCode ?? 0, headers: body.headers, body, url });
      });
      request.end();
    });
  }

  return {
    async get(start, options) {
      let url = start;
      let headers = options.headers;
      for (let hop = 0; hop <= maxRedirects; hop++) {
        const answer = await once(url, { ...options, headers });
        const location = answer.headers.location;
        if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined) return answer;
        answer.body.resume();
        const next = new URL(location, url);
        if (url.protocol === "https:" && next.protocol !== "https:") {
          throw new KubedosError("failed", `${safeUrl(url)} redirects from https to ${safeUrl(next)}`, {
            hint: "use a mirror that stays on https, or its http URL",
          });
        }
        if (!["http:", "https:"].includes(next.protocol)) {
          throw new KubedosError("failed", `${safeUrl(url)} redirects to ${next.protocol} which is not followed`);
        }
        // A token is for the server that asked for it, not for the one that it sends us to.
        if (next.origin !== url.origin) headers = withoutAuthorization(headers);
        url = next;
      }
      throw new KubedosError("failed", `${safeUrl(start)}: more than ${maxRedirects} redirects`);
    },
    close() {
      plain.destroy();
      for (const agent of secure.values()) agent.destroy();
    },
  };
}

function withoutAuthorization(headers: Record<string, string> | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(headers ?? {}).filter(([name]) => name.toLowerCase() !== "authorization"));
}

/** A URL for messages: without user and password. */
export function safeUrl(url: URL): string {
  return withoutCredentials(url).href;
}

function withoutCredentials(url: URL): URL {
  const copy = new URL(url);
  copy.username = "";
  copy.password = "";
  return copy;
}

interface TlsOptions {
  ca?: string[];
  cert?: Buffer;
  key?: Buffer;
  rejectUnauthorized: boolean;
}

/** The host's own authorities beside Node's: a company's CA is installed there, and apt trusts it too. */
function tlsOptions(settings: HttpSettings, url: URL): TlsOptions {
  const { caFile, certificateFile, keyFile, verify } = settings.certificatesFor(url);
  const system = caFile === undefined ? readIfThere(systemCertificates) : readFileSync(caFile, "utf8");
  const extra = process.env["NODE_EXTRA_CA_CERTS"];
  const added = [system, extra === undefined ? undefined : readIfThere(extra)].filter((pem) => pem !== undefined);
  const ca = caFile === undefined ? [...rootCertificates, ...added] : added;
  return {
    ca,
    rejectUnauthorized: verify,
    ...(certificateFile === undefined ? {} : { cert: readFileSync(certificateFile) }),
    ...(keyFile === undefined && certificateFile === undefined
      ? {}
      : { key: readFileSync((keyFile ?? certificateFile)!) }),
  };
}

/** https through an http proxy: CONNECT, then TLS inside (RFC 9110, 9.3.6). */
function tunnelThrough(agent: https.Agent, proxy: URL, tls: TlsOptions): void {
  agent.createConnection = (options, callback) => {
    const { host, port, servername } = options as { host: string; port: number | string; servername?: string };
    const target = `${host.includes(":") ? `[${host}]` : host}:${port}`;
    const headers: Record<string, string> = { host: target };
    if (proxy.username !== "") headers["proxy-authorization"] = proxyAuthorization(proxy);
    const request = http.request({
      host: hostOf(proxy),
      port: proxy.port || 80,
      method: "CONNECT",
      path: target,
      headers,
      agent: false,
      timeout: 30_000,
    });
    const fail = (error: Error) => callback?.(error, undefined as never);
    request.on("timeout", () => request.destroy(new Error("the proxy does not answer")));
    request.on("error", fail);
    request.on("connect", (answer, socket) => {
      if (answer.statusCode !== 200) {
        socket.destroy();
        return fail(new Error(`the proxy refused the connection: ${answer.statusCode} ${answer.statusMessage ?? ""}`));
      }
      socket.setTimeout(0);
      const stream = tlsConnect({ socket, servername: servername ?? host, ...tls });
      stream.once("secureConnect", () => callback?.(null, stream));
      stream.once("error", fail);
    });
    request.end();
    return undefined;
  };
}

function hostOf(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "");
}

function proxyAuthorization(proxy: URL): string {
  return basic(decodeURIComponent(proxy.username), decodeURIComponent(proxy.password));
}

function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

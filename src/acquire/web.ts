import type { HttpSettings } from "../host/http.ts";
import type { PipConfig } from "../host/pip-config.ts";
import { proxyEnvironment } from "../host/proxy.ts";
import { readNetrc } from "../host/user-files.ts";
import { exempt, matchCredentials, parseCredentials } from "./transport.ts";

/**
 * Reaches servers that apt knows nothing of: proxies from the environment, credentials from netrc (for https only,
 * unless the entry's machine is written with `http://`), the system's authorities, and what pip's configuration adds.
 */
export async function webSettings(
  pip: Pick<PipConfig, "proxy" | "caFile" | "clientCertificate" | "trustedHosts"> = { trustedHosts: [] },
): Promise<HttpSettings> {
  const environment = proxyEnvironment();
  const credentials = parseCredentials((await readNetrc()) ?? "");
  return {
    async proxyFor(url) {
      if (exempt(url, environment["no_proxy"])) return undefined;
      const proxy = pip.proxy ?? environment[`${url.protocol.slice(0, -1)}_proxy`];
      return proxy === undefined ? undefined : new URL(proxy.includes("://") ? proxy : `http://${proxy}`);
    },
    credentialsFor: (url) => matchCredentials(credentials, url),
    certificatesFor(url) {
      return {
        caFile: pip.caFile,
        certificateFile: pip.clientCertificate,
        verify: !pip.trustedHosts.some((host) => host === url.hostname || host === url.host),
      };
    },
  };
}

import type { CertificateFacts } from "../../shared/events.ts";
import { pkiCredential, pkiDirectory, pkiFile, pkiPurposes } from "../../shared/pki.ts";
import type { RenderedFile } from "../../shared/render/render.ts";
import { readCredential } from "./credentials.ts";
import type { Identity } from "./identity.ts";
import type { NodePaths } from "./paths.ts";
import { readText } from "./text.ts";

/** The node's certificates as they are on disk now. */
export async function certificateFacts(paths: NodePaths, { layer }: Identity): Promise<CertificateFacts[]> {
  const { pki } = layer;
  if (pki === undefined) return [];
  const { X509Certificate } = await import("node:crypto");
  return pkiPurposes.flatMap((purpose): CertificateFacts[] => {
    const text = readText(paths.at(pkiFile(purpose, "crt")));
    if (text === undefined) return [];
    try {
      const certificate = new X509Certificate(text);
      const [from, to] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];
      const ours = certificate.verify(new X509Certificate(pki.authorities[purpose]).publicKey);
      const valid = ours && from <= Date.now() && Date.now() < to;
      return [{ purpose, notBefore: new Date(from).toISOString(), notAfter: new Date(to).toISOString(), valid }];
    } catch {
      return [{ purpose, notBefore: "", notAfter: "", valid: false }]; // not a certificate
    }
  });
}

/**
 * The node's certificates as files for its services: public parts readable by all, private keys by root only, from
 * where systemd hands them to a service (`LoadCredential=`). A seed without certificates gives only what to trust.
 */
export function renderPki(paths: NodePaths, { layer }: Identity, environment: NodeJS.ProcessEnv): RenderedFile[] {
  const { pki } = layer;
  if (pki === undefined) return [];
  const files: RenderedFile[] = [{ path: `${pkiDirectory}/root.ca.crt`, mode: 0o644, content: pki.root }];
  for (const purpose of pkiPurposes) {
    const authority = pki.authorities[purpose];
    if (authority === undefined) continue;
    files.push({ path: pkiFile(purpose, "ca.crt"), mode: 0o644, content: authority });
    const certificate = readCredential(paths, environment, pkiCredential(purpose, "crt"));
    const key = readCredential(paths, environment, pkiCredential(purpose, "key"));
    if (certificate === undefined || key === undefined) continue;
    files.push({ path: pkiFile(purpose, "crt"), mode: 0o644, content: `${certificate}\n` });
    files.push({ path: pkiFile(purpose, "key"), mode: 0o600, content: `${key}\n` });
  }
  return files;
}
